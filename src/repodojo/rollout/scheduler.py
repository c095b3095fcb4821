"""Which episode starts where, and what becomes of those that fail, straggle, or are not needed any more.

A state machine without clock, processes or I/O: events go in with the time as a number, orders come out. The live
pool and the simulator drive this very code.

    asked -> queued -> given to a worker -> started -> accepted -> its group is whole
                ^              |  outage, deadline, dead worker
                +--------------+
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Sequence
from itertools import groupby
from typing import Literal

from repodojo.rollout.actions import Accept, Action, Cancel, Group, Member, Play, Replace, Ticket, Whole, Worker
from repodojo.rollout.rules import FEWEST_RETRIES, Rules


class Scheduler:
    """Every event returns the actions to carry out, in order. Work per event is logarithmic in what is in flight.

    >>> scheduler = Scheduler(Rules())
    >>> scheduler.join("w", slots=8)
    []
    >>> scheduler.ask("g", ["g/0", "g/1", "g/2"], need=2)[0].tickets
    (('g/0', 0), ('g/1', 0), ('g/2', 0))
    >>> scheduler.finished(("g/2", 0), now=1.0)
    [Accept(ticket=('g/2', 0), failure='')]
    >>> for action in scheduler.finished(("g/0", 0), now=2.0):
    ...     print(action)
    Accept(ticket=('g/0', 0), failure='')
    Whole(group='g', kept=('g/0', 'g/2'), stale=False)
    Cancel(worker='w', tickets=(('g/1', 0),))
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.counts: Counter[str] = Counter()
        self._groups: dict[str, Group] = {}
        self._workers: dict[str, Worker] = {}
        self._given: dict[Ticket, tuple[Worker, Member]] = {}
        self._queue: deque[list[Member]] = deque()
        self._loads: list[tuple[int, int, str]] = []  # a heap; no load of a worker is in it twice, or it would grow
        self._listed: set[tuple[int, int, str]] = set()
        self._alarms: list[tuple[float, Literal["deadline", "grace"], Ticket]] = []
        self.held = False

    # ------------------------------------------------------------ events

    def join(self, worker: str, slots: int) -> list[Action]:
        """A worker that takes `slots` episodes at a time (a larger group too, when it has nothing else)."""
        self._workers[worker] = Worker(worker, slots, self.counts["joined"])
        self.counts["joined"] += 1
        self._loaded(self._workers[worker])
        return self._hand_out()

    def leave(self, worker: str) -> list[Action]:
        """A worker died: what it played is played again elsewhere, first of all; that is no retry of the episode."""
        gone = self._workers.pop(worker)
        lost: list[Member] = []
        for ticket in gone.tickets:
            member = self._given.pop(ticket)[1]
            if member.plays(ticket):
                member.again()
                lost.append(member)
        units = [list(unit) for _, unit in groupby(lost, key=lambda member: member.group.id)]
        self._queue.extendleft(reversed(units))
        return self._hand_out()

    def ask(self, group: str, members: Sequence[str], *, need: int, version: int | None = None) -> list[Action]:
        """A group that is whole with `need` of these members. `version` None: it never grows stale."""
        made = Group(group, need, version, self.rules.finish)
        made.members = [Member(name, made, place) for place, name in enumerate(members)]
        self._groups[group] = made
        self._queue.extend([[m] for m in made.members] if self.rules.spread == "member" else [list(made.members)])
        self.counts["asked"] += len(members)
        return self._hand_out()

    def started(self, ticket: Ticket, now: float) -> list[Action]:
        """An attempt has left its worker's own queue."""
        if self.rules.deadline and ticket in self._given:
            heapq.heappush(self._alarms, (now + self.rules.deadline, "deadline", ticket))
        return []

    def finished(self, ticket: Ticket, now: float, failure: str = "") -> list[Action]:
        """An attempt came back; `failure` names the outage that it met."""
        member = self._free(ticket)
        settled = self._settle(member, ticket, failure, now) if member is not None and member.plays(ticket) else []
        return settled + self._hand_out()

    def gone(self, ticket: Ticket) -> list[Action]:
        """A worker obeyed a cancellation."""
        self._free(ticket)
        return self._hand_out()

    def published(self, version: int, now: float) -> list[Action]:
        """A new policy version is out: groups that it makes too old are cancelled, at whatever turn they are."""
        oldest = version - self.rules.max_staleness
        stale = [g for g in self._groups.values() if g.version is not None and g.version < oldest]
        actions: list[Action] = []
        for group in stale:
            self.counts["stale_groups"] += 1
            actions += self._close(group, now, stale=True)
        return actions + self._hand_out()

    def tick(self, now: float) -> list[Action]:
        """Time has passed: deadlines that were missed, workers that do not obey."""
        actions: list[Action] = []
        while self._alarms and self._alarms[0][0] <= now:
            _, kind, ticket = heapq.heappop(self._alarms)
            if ticket not in self._given:
                continue
            worker, member = self._given[ticket]
            if kind == "grace" and not worker.condemned:
                worker.condemned = True
                self.counts["hung_workers"] += 1
                actions.append(Replace(worker.id))
            elif kind == "deadline" and member.plays(ticket):
                self.counts["deadlines_missed"] += 1
                actions.append(self._cancel(worker, [ticket], now))
                actions += self._settle(member, ticket, "DeadlineError", now)
        return actions + self._hand_out()

    def hold(self, held: bool) -> list[Action]:
        """While held, nothing is handed out (for a publication that waits until nobody plays)."""
        self.held = held
        return self._hand_out()

    # ------------------------------------------------------------ questions

    def next_alarm(self) -> float | None:
        """When `tick` is due next."""
        while self._alarms and self._alarms[0][2] not in self._given:
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    def in_flight(self) -> int:
        """Groups asked for that are not whole."""
        return len(self._groups)

    def awaits(self, ticket: Ticket) -> bool:
        """Whether what this attempt brings would count."""
        return ticket in self._given and self._given[ticket][1].plays(ticket)

    def playing(self) -> int:
        """Attempts that workers have and did not give back."""
        return len(self._given)

    # ------------------------------------------------------------ inside

    def _hand_out(self) -> list[Action]:
        """Units of the queue, in its order, to the least loaded worker while that one has room."""
        actions: list[Action] = []
        while self._queue and not self.held:
            unit = [member for member in self._queue[0] if member.state == "queued"]
            worker = self._least_loaded()
            if unit and (worker is None or not worker.has_room(len(unit))):
                break
            self._queue.popleft()
            if unit and worker is not None:
                actions.append(self._give(worker, unit))
        return actions

    def _give(self, worker: Worker, unit: Sequence[Member]) -> Play:
        for member in unit:
            member.state = "given"
            worker.tickets[member.ticket] = None
            self._given[member.ticket] = (worker, member)
        self._loaded(worker)
        return Play(worker.id, tuple(member.ticket for member in unit))

    def _least_loaded(self) -> Worker | None:
        """Of several the one that joined first. Entries whose load has changed since are skipped."""
        while self._loads:
            load, _, name = self._loads[0]
            worker = self._workers.get(name)
            if worker is not None and not worker.condemned and len(worker.tickets) == load:
                return worker
            self._listed.remove(heapq.heappop(self._loads))
        return None

    def _loaded(self, worker: Worker) -> None:
        entry = (len(worker.tickets), worker.rank, worker.id)
        if entry not in self._listed:
            self._listed.add(entry)
            heapq.heappush(self._loads, entry)

    def _free(self, ticket: Ticket) -> Member | None:
        worker, member = self._given.pop(ticket, (None, None))
        if worker is not None:
            del worker.tickets[ticket]
            self._loaded(worker)
        return member

    def _settle(self, member: Member, ticket: Ticket, failure: str, now: float) -> list[Action]:
        """A member's attempt is over: once more, or it counts; then perhaps its group is whole."""
        group = member.group
        if failure and member.retries < self.rules.retries and self._may_retry():
            self.counts["retries"] += 1
            member.retries += 1
            member.again()
            self._queue.appendleft([member])
            return []
        member.state = "back"
        (group.failed if failure else group.back).append(member)
        actions: list[Action] = [Accept(ticket, failure)]
        if group.is_whole():
            actions += self._close(group, now)
        return actions

    def _may_retry(self) -> bool:
        return self.counts["retries"] < max(FEWEST_RETRIES, self.rules.retry_share * self.counts["asked"])

    def _close(self, group: Group, now: float, *, stale: bool = False) -> list[Action]:
        """The group leaves; members that are not back are not wanted any more."""
        del self._groups[group.id]
        actions: list[Action] = [Whole(group.id, group.kept(), stale)]
        running: dict[str, list[Ticket]] = {}
        for member in group.members:
            if member.state == "given":
                running.setdefault(self._given[member.ticket][0].id, []).append(member.ticket)
            if member.state != "back":
                self.counts["cancelled"] += 1
                member.state = "dropped"
        return actions + [self._cancel(self._workers[worker], tickets, now) for worker, tickets in running.items()]

    def _cancel(self, worker: Worker, tickets: Sequence[Ticket], now: float) -> Cancel:
        if self.rules.deadline:
            for ticket in tickets:
                heapq.heappush(self._alarms, (now + self.rules.grace, "grace", ticket))
        return Cancel(worker.id, tuple(tickets))
