"""Groups of trajectories for the learner: asked for ahead, taken when whole, in the order of asking or of finishing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from repodojo.core.records import Group
from repodojo.rollout.orders import Order
from repodojo.rollout.pool import WorkerPool
from repodojo.rollout.rules import Take


@dataclass
class Wanted:
    """A group asked for: the policy version at that time, and what came of it."""

    version: int
    group: Group | None = None
    stale: bool = False


class GroupQueue:
    """Groups in flight over a pool. Synchronous training asks and takes all; asynchronous training asks ahead."""

    def __init__(self, pool: WorkerPool, take: Take = "asked") -> None:
        self.pool = pool
        self._order = take
        self._wanted: dict[str, Wanted] = {}

    def ask(self, orders: Sequence[Order], version: int, need: int | None = None) -> None:
        """Submit the orders of one group; it is whole with `need` of them (None: with all)."""
        self._wanted[orders[0].group_id] = Wanted(version)
        self.pool.submit_group(orders, need=need or len(orders), version=version)

    def in_flight(self) -> int:
        """Groups asked for and not taken."""
        return len(self._wanted)

    def take(self, count: int) -> Iterator[Wanted]:
        """The next `count` groups, each when it is over: by "asked" the oldest, by "finished" whichever is."""
        for _ in range(min(count, len(self._wanted))):
            found = self._next()
            while found is None:
                finished = next(self.pool.finished_groups())
                wanted = self._wanted[finished.group.id]
                wanted.group, wanted.stale = finished.group, finished.stale
                found = self._next()
            yield self._wanted.pop(found)

    def _next(self) -> str | None:
        """The group to take now, if it is over."""
        if self._order == "asked":
            oldest = next(iter(self._wanted))
            return oldest if self._wanted[oldest].group is not None else None
        return next((name for name, wanted in self._wanted.items() if wanted.group is not None), None)
