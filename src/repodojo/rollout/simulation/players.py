"""Simulated workers: they play what the scheduler gives them, on engines, environments and a virtual clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from repodojo.rollout.actions import Ticket
from repodojo.rollout.simulation.engine import Request, SimulatedEngine
from repodojo.rollout.simulation.outcome import Tally
from repodojo.rollout.simulation.techniques import Techniques
from repodojo.rollout.simulation.workload import Plan, Workload

At = Callable[[float, Callable[[float], None]], None]
"""Call something at a time."""


class Attempt:
    """An episode being played."""

    __slots__ = ("alive", "context", "group", "known", "plan", "playing", "sampling", "since", "ticket", "turn")

    def __init__(self, ticket: Ticket, plan: Plan, group: str, now: float) -> None:
        self.ticket, self.plan, self.group = ticket, plan, group
        self.turn = self.context = self.known = 0
        self.since = now
        self.alive, self.sampling, self.playing = True, False, False

    def spent(self, now: float) -> float:
        """Seconds since it was asked last."""
        seconds, self.since = now - self.since, now
        return seconds


@dataclass
class Stage:
    """What all workers share."""

    techniques: Techniques
    workload: Workload
    tally: Tally
    at: At
    started: Callable[[Ticket, float], None]
    finished: Callable[[Ticket, float, str], None]
    gone: Callable[[Ticket, float], None]
    turns: Turns | None = None


@dataclass
class Turns:
    """The barrier of a pipeline in lockstep: nobody samples the next turn before all have done with this one.

    Nothing is ever cancelled there: lockstep is naive in all else too.
    """

    at_barrier: list[Callable[[float], None]] = field(default_factory=list)
    in_turn: int = 0

    def enter(self, now: float, go: Callable[[float], None]) -> None:
        """Wait for the others, then go on."""
        self.at_barrier.append(go)
        self.leave(now)

    def leave(self, now: float) -> None:
        """One has done with this turn; the last one opens the barrier."""
        self.in_turn -= 1
        if self.in_turn == 0:
            waiting, self.at_barrier = self.at_barrier, []
            self.in_turn = len(waiting)
            for go in waiting:
                go(now)


class SimulatedWorker:
    """An engine and `places` episodes that play at once, as `rollout.worker` has them."""

    def __init__(self, places: int, stage: Stage) -> None:
        self.engine = SimulatedEngine(stage.workload.costs)
        self.free, self.stage = places, stage
        self.waiting: deque[Attempt] = deque()
        self.attempts: dict[Ticket, Attempt] = {}
        self.prompts: dict[str, int] = {}

    # ------------------------------------------------------------ what the scheduler says

    def play(self, ticket: Ticket, plan: Plan, group: str, now: float) -> None:
        """Take an attempt."""
        attempt = self.attempts[ticket] = Attempt(ticket, plan, group, now)
        self.waiting.append(attempt)
        self._fill(now)

    def cancel(self, ticket: Ticket, now: float) -> None:
        """Stop one, if it is not over."""
        attempt = self.attempts.pop(ticket, None)
        if attempt is None:
            return
        attempt.alive = False
        if attempt.sampling:
            self.engine.remove(now, attempt)
            self._plan_engine(now)
        self._leave(attempt, now)
        self.stage.at(now, lambda then: self.stage.gone(ticket, then))

    def publish(self, now: float) -> None:
        """New weights: what is kept of the old ones is void, in flight too."""
        void = 0
        for attempt in self.attempts.values():
            void += attempt.context if attempt.sampling else 0
            attempt.known = 0
        self.prompts.clear()
        costs = self.stage.workload
        self.engine.stop(now, costs.sync_seconds + void * costs.costs.prefill_token)
        self._plan_engine(now)

    # ------------------------------------------------------------ an episode

    def _fill(self, now: float) -> None:
        while self.free and self.waiting:
            attempt = self.waiting.popleft()
            if not attempt.alive:
                continue
            self.free -= 1
            attempt.playing = True
            self.stage.tally.waiting["place"] += attempt.spent(now)
            self.stage.started(attempt.ticket, now)
            if self.stage.turns is not None:
                self.stage.turns.in_turn += 1
            box = 0.0 if self.stage.techniques.warm else attempt.plan.start
            self.stage.at(now + box, lambda then, it=attempt: self._boxed(it, then))  # type: ignore[misc]

    def _boxed(self, attempt: Attempt, now: float) -> None:
        if attempt.alive:
            self.stage.tally.waiting["box"] += attempt.spent(now)
            self._next_turn(attempt, now)

    def _next_turn(self, attempt: Attempt, now: float) -> None:
        if self.stage.turns is not None:
            self.stage.turns.enter(now, lambda then: self._sample(attempt, then))
        else:
            self._sample(attempt, now)

    def _sample(self, attempt: Attempt, now: float) -> None:
        if not attempt.alive:
            return
        plan, turn = attempt.plan, attempt.turn
        if turn == plan.fails_at:
            self._out_of_turn(now)
            self._over(attempt, now, "SandboxError")
            return
        attempt.context += plan.observation_T[turn]
        self.engine.add(now, attempt, plan.action_T[turn], self._to_prefill(attempt))
        attempt.context += plan.action_T[turn]
        self._plan_engine(now)

    def _to_prefill(self, attempt: Attempt) -> int:
        """Tokens whose keys and values are not there."""
        if not self.stage.techniques.prefix:
            return attempt.context
        known = attempt.known or self.prompts.get(attempt.group, 0)
        self.prompts.setdefault(attempt.group, attempt.plan.observation_T[0])
        attempt.known = attempt.context + attempt.plan.action_T[attempt.turn]
        return max(attempt.context - known, 1)

    def _plan_engine(self, now: float) -> None:
        self.engine.stamp += 1
        due, stamp = self.engine.due(now), self.engine.stamp
        if due is not None:
            self.stage.at(due, lambda then: self._sampled(stamp, then))

    def _sampled(self, stamp: int, now: float) -> None:
        if stamp != self.engine.stamp:  # something changed since this was foreseen
            return
        for request in self.engine.done(now):
            self._act(request, now)
        self._plan_engine(now)

    def _act(self, request: Request, now: float) -> None:
        assert isinstance(request, Attempt)
        attempt = request
        self.stage.tally.waiting["engine"] += attempt.spent(now)
        hangs = attempt.turn == attempt.plan.hangs_at
        seconds = self.stage.workload.hang_seconds if hangs else attempt.plan.environment_T[attempt.turn]
        self.stage.at(now + seconds, lambda then: self._acted(attempt, hangs, then))

    def _acted(self, attempt: Attempt, hangs: bool, now: float) -> None:
        if not attempt.alive:
            return
        self.stage.tally.waiting["environment"] += attempt.spent(now)
        attempt.turn += 1
        if hangs:
            self._out_of_turn(now)
            self._over(attempt, now, "SandboxError")
        elif attempt.turn < len(attempt.plan.action_T):
            self._next_turn(attempt, now)
        else:
            self._out_of_turn(now)
            if self.stage.techniques.grade_apart:
                self._leave(attempt, now)
            self.stage.at(now + attempt.plan.grading, lambda then: self._graded(attempt, then))

    def _out_of_turn(self, now: float) -> None:
        if self.stage.turns is not None:
            self.stage.turns.leave(now)

    def _graded(self, attempt: Attempt, now: float) -> None:
        if attempt.alive:
            self.stage.tally.waiting["grading"] += attempt.spent(now)
            self._over(attempt, now, "")

    def _over(self, attempt: Attempt, now: float, failure: str) -> None:
        attempt.alive = False
        self.attempts.pop(attempt.ticket, None)
        self._leave(attempt, now)
        self.stage.finished(attempt.ticket, now, failure)

    def _leave(self, attempt: Attempt, now: float) -> None:
        """Give its place to the next."""
        if attempt.playing:
            attempt.playing = False
            self.free += 1
            self._fill(now)
