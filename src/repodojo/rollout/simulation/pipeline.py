"""The whole loop on a virtual clock: scheduler, workers, learner. `simulate` is the entry."""

from __future__ import annotations

import gc
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from repodojo.core.errors import ConfigError
from repodojo.rollout.actions import Accept, Action, Cancel, Play, Ticket, Whole
from repodojo.rollout.rules import Pace
from repodojo.rollout.scheduler import Scheduler
from repodojo.rollout.simulation.outcome import Outcome, Tally, outcome
from repodojo.rollout.simulation.players import SimulatedWorker, Stage, Turns
from repodojo.rollout.simulation.techniques import Size, Techniques
from repodojo.rollout.simulation.workload import Plan, Workload


def simulate(workload: Workload, techniques: Techniques, size: Size) -> Outcome:
    """Run `size.steps` steps and say what they took. Equal arguments give equal outcomes."""
    with _uncollected():
        return Pipeline(workload, techniques, size).run()


@contextmanager
def _uncollected() -> Iterator[None]:
    """No cycle collection meanwhile: it walks millions of live plans and events, again and again, and finds nothing."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@dataclass
class _Asked:
    """A group in flight or in hand."""

    version: int
    plans: list[Plan]
    whole: bool = False
    stale: bool = False
    kept: tuple[str, ...] = ()
    failed: set[str] = field(default_factory=set)


class Pipeline:
    """One simulated run. Its learner does what `train.rl` does, with the same Pace and the same Scheduler."""

    def __init__(self, workload: Workload, techniques: Techniques, size: Size) -> None:
        self.workload, self.techniques, self.size = workload, techniques, size
        self.engines = size.engines - round(size.engines * techniques.learner_share)
        if not self.engines > 0 or (techniques.learner_share and self.engines == size.engines):
            cause = f"a learner's share of {techniques.learner_share:g} leaves one side of {size.engines} without any"
            raise ConfigError(cause, way_out="take more engines, or another share")
        self.tally = Tally()
        self.scheduler = Scheduler(techniques.rules())
        self.pace = Pace(size.groups, techniques.staleness)
        turns = Turns() if techniques.lockstep else None
        stage = Stage(techniques, workload, self.tally, self._at, self._started, self._finished, self._gone, turns)
        places = [size.environments // self.engines] * self.engines
        for extra in range(size.environments % self.engines):
            places[extra] += 1
        self.workers = [SimulatedWorker(count, stage) for count in places]
        self.asked: dict[str, _Asked] = {}
        self.over: list[int] = []  # numbers of groups that are whole, a heap: the oldest of them is taken first
        self.step = self.groups = self.kept_tokens = 0
        self.kept = 0
        self.began = self.now = 0.0
        self.learning = False
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._actions: deque[Action] = deque()
        self._alarm: float | None = None

    def run(self) -> Outcome:
        """To the end of the last step."""
        for place, worker in enumerate(self.workers):
            self.scheduler.join(str(place), worker.free * 5 // 4)
        self._gather()
        self._carry_out()
        while self.step < self.size.steps:
            self.now, _, call = heapq.heappop(self._events)
            call(self.now)
            self._carry_out()
        for worker in self.workers:  # what is still being cancelled counts as busy up to here, no further
            worker.engine.stop(self.now, 0.0)
        busy = sum(worker.engine.busy for worker in self.workers)
        return outcome(self.tally, self.now, busy, self.engines, self.scheduler.counts)

    # ------------------------------------------------------------ the learner, as in train.rl

    def _gather(self) -> None:
        self.learning, self.kept, self.kept_tokens = False, 0, 0
        self._take()

    def _take(self) -> None:
        """Take what is there; learn when the step has its groups."""
        if self.learning:
            return
        left = self.size.steps - self.step - 1
        while self.kept < self.size.groups:
            self._ask(self.pace.gathering(self.kept, len(self.asked), left))
            name = self._next_group()
            if name is None:
                return
            self._use(self.asked.pop(name))
        self.learning = True
        self._ask(self.pace.learning(len(self.asked), left))
        learners = (self.size.engines - self.engines) or self.size.engines
        seconds = self.kept_tokens * self.workload.token_seconds / learners
        self.tally.learner_busy += seconds
        self._at(self.now + seconds, self._learned)

    def _next_group(self) -> str | None:
        if self.techniques.take == "asked":
            name = next(iter(self.asked))
            return name if self.asked[name].whole else None
        return str(heapq.heappop(self.over)) if self.over else None

    def _use(self, group: _Asked) -> None:
        if group.stale or self.step - group.version > self.techniques.staleness:
            return
        self.kept += 1
        self.tally.staleness.append(self.step - group.version)
        for name in group.kept:
            if name in group.failed:  # an outage is no episode to learn from
                continue
            plan = group.plans[int(name.rpartition("/")[2])]
            self.tally.used += 1
            self.tally.used_turns += len(plan.action_T)
            self.kept_tokens += plan.tokens()

    def _learned(self, now: float) -> None:
        if self.techniques.in_flight or not self.scheduler.playing():
            self._publish(now)
        else:
            self._do(self.scheduler.hold(True))  # `_gone` and `_finished` look whether the last one is over

    def _publish(self, now: float) -> None:
        self.step += 1
        for worker in self.workers:
            worker.publish(now)
        self._do(self.scheduler.published(self.step, now))
        self._do(self.scheduler.hold(False))
        self.tally.step_seconds.append(now + self.workload.sync_seconds - self.began)
        self.began = now + self.workload.sync_seconds
        self._at(self.began, lambda _: self._gather())

    def _ask(self, count: int) -> None:
        size = self.size.group_size + self.techniques.redundancy
        for _ in range(count):
            name = str(self.groups)
            plans = self.workload.group(self.groups, size)
            self.groups += 1
            self.tally.planned += size
            self.tally.planned_turns += sum(len(plan.action_T) for plan in plans)
            self.asked[name] = _Asked(self.step, plans)
            members = [f"{name}/{place}" for place in range(size)]
            self._do(self.scheduler.ask(name, members, need=self.size.group_size, version=self.step))

    # ------------------------------------------------------------ the scheduler's side

    def _do(self, actions: Iterable[Action]) -> None:
        self._actions.extend(actions)

    def _carry_out(self) -> None:
        while self._actions:
            match self._actions.popleft():
                case Play(worker, tickets):
                    for ticket in tickets:
                        group = ticket[0].rpartition("/")[0]
                        self.workers[int(worker)].play(ticket, self._plan(group, ticket), group, self.now)
                case Cancel(worker, tickets):
                    for ticket in tickets:
                        self.workers[int(worker)].cancel(ticket, self.now)
                case Accept(ticket, failure) if failure:
                    self.asked[ticket[0].rpartition("/")[0]].failed.add(ticket[0])
                case Whole(name, kept, stale):
                    group_asked = self.asked[name]
                    group_asked.whole, group_asked.kept, group_asked.stale = True, kept, stale
                    if self.techniques.take == "finished":
                        heapq.heappush(self.over, int(name))
                    self._at(self.now, lambda _: self._take())
        alarm = self.scheduler.next_alarm()
        if alarm is not None and (self._alarm is None or alarm < self._alarm):
            self._alarm = alarm
            self._at(alarm, self._tick)

    def _plan(self, group: str, ticket: Ticket) -> Plan:
        member, attempt = int(ticket[0].rpartition("/")[2]), ticket[1]
        if attempt:
            return self.workload.again(int(group), member, attempt)
        return self.asked[group].plans[member]

    def _tick(self, now: float) -> None:
        self._alarm = None
        self._do(self.scheduler.tick(now))

    def _started(self, ticket: Ticket, now: float) -> None:
        self._do(self.scheduler.started(ticket, now))

    def _finished(self, ticket: Ticket, now: float, failure: str) -> None:
        self._do(self.scheduler.finished(ticket, now, failure))
        self._drained(now)

    def _gone(self, ticket: Ticket, now: float) -> None:
        self._do(self.scheduler.gone(ticket))
        self._drained(now)

    def _drained(self, now: float) -> None:
        if self.scheduler.held and not self.scheduler.playing():
            self._publish(now)

    def _at(self, when: float, call: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, call))
