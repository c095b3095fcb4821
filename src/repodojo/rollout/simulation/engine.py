"""A simulated engine: continuous batching as processor sharing, in closed form between events."""

from __future__ import annotations

import heapq
from typing import Protocol

from repodojo.rollout.simulation.workload import Costs

_ROUNDING = 1e-6  # of a token


class Request(Protocol):
    """What an engine works on; it forgets those that are not `sampling` any more."""

    sampling: bool


class SimulatedEngine:
    """Every sequence of the batch gets a token each decode_fixed + decode_each * batch seconds.

    Prefill stops the batch while it lasts: tokens * prefill_token seconds. (A real engine interleaves it in chunks,
    which delays the others by as much in all, and the request itself a little more.) Between two events the number of
    tokens that each has got since the start grows linearly, so one number, `_given`, tells when each is done, and an
    event costs the logarithm of the batch.
    """

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self.batch = 0
        self.busy = 0.0
        self.stamp = 0
        self._given = self._last = self._stopped = 0.0
        self._ends: list[tuple[float, int, Request]] = []
        self._count = 0

    def add(self, now: float, request: Request, tokens: int, prefill: int) -> None:
        """Prefill, then sample `tokens`."""
        self._advance(now)
        self._stopped = max(self._stopped, now) + prefill * self.costs.prefill_token
        self.batch += 1
        self._count += 1
        request.sampling = True
        heapq.heappush(self._ends, (self._given + tokens, self._count, request))

    def stop(self, now: float, seconds: float) -> None:
        """Do nothing else for so long: load weights, compute kept prefixes anew."""
        self._advance(now)
        self._stopped = max(self._stopped, now) + seconds
        if not self.batch:
            self.busy += seconds

    def remove(self, now: float, request: Request) -> None:
        """Cancel."""
        self._advance(now)
        request.sampling = False
        self.batch -= 1

    def due(self, now: float) -> float | None:
        """When the next request will be done, as things stand."""
        while self._ends and not self._ends[0][2].sampling:
            heapq.heappop(self._ends)
        if not self._ends:
            return None
        left = self._ends[0][0] - self._given
        return now if left <= _ROUNDING else max(now, self._stopped) + left * self._step()

    def done(self, now: float) -> list[Request]:
        """Requests that have all their tokens."""
        self._advance(now)
        found: list[Request] = []
        while self._ends and (self._ends[0][0] <= self._given + _ROUNDING or not self._ends[0][2].sampling):
            request = heapq.heappop(self._ends)[2]
            if request.sampling:
                request.sampling = False
                self.batch -= 1
                found.append(request)
        return found

    def _step(self) -> float:
        return self.costs.decode_fixed + self.costs.decode_each * self.batch

    def _advance(self, now: float) -> None:
        if self.batch:
            self.busy += now - self._last
            begin = max(self._last, min(self._stopped, now))
            self._given += (now - begin) / self._step()
        self._last = now
