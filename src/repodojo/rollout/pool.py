"""Worker processes seen from the parent: orders in, trajectories and groups out, weights published in between.

What is played where, again, or no longer is the scheduler's to decide (see `rollout.scheduler`); here it is done.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from multiprocessing.connection import wait
from typing import Any

from repodojo.core.errors import DeadlineError, EngineError, RepodojoError
from repodojo.core.records import Group, Trajectory
from repodojo.rollout import worker
from repodojo.rollout.actions import Accept, Action, Cancel, Play, Replace, Ticket, Whole
from repodojo.rollout.episode import unplayed
from repodojo.rollout.hands import Hand, share, start, tell, total
from repodojo.rollout.orders import Order, PoolSettings
from repodojo.rollout.published import Published
from repodojo.rollout.rules import Rules
from repodojo.rollout.scheduler import Scheduler

MOST_RESTARTS = 3  # without an episode finished in between
_BEAT = 0.2  # seconds between two looks at whether serving in the background shall end


@dataclass(frozen=True)
class Finished:
    """A group that is over. Stale ones hold what was back when they were given up (it may be nothing)."""

    group: Group
    stale: bool


class WorkerPool:
    """A fixed number of workers. Start is lazy; `close` (or leaving the context) ends them and their boxes."""

    def __init__(self, settings: PoolSettings, workers: int, rules: Rules | None = None) -> None:
        self.settings, self.workers = settings, workers
        self.scheduler = Scheduler(rules or Rules())
        self._hands: list[Hand] = []
        self._started = 0
        self._orders: dict[str, list[Order]] = {}  # by group
        self._order: dict[str, Order] = {}
        self._back: dict[str, Trajectory] = {}
        self._compared: set[str] = set()  # groups that come out whole, not episode by episode
        self._arrived: deque[Trajectory] = deque()
        self._finished: deque[Finished] = deque()
        self._restarts = 0
        self.published = Published(settings)
        self._gone: list[Mapping[str, float]] = []  # counts of workers that died
        self._lent = 0

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, orders: Iterable[Order]) -> None:
        """Queue episodes that `results` gives back one by one. A worker that dies has its orders replayed elsewhere."""
        self.start()
        for group_id, found in groupby(orders, key=lambda order: order.group_id):
            members = list(found)
            self._ask(group_id, members, len(members), None)

    def submit_group(self, orders: Sequence[Order], *, need: int, version: int) -> None:
        """Queue a group that `finished_groups` gives back when `need` of it are over, or it is stale."""
        self.start()
        self._compared.add(orders[0].group_id)
        self._ask(orders[0].group_id, list(orders), need, version)

    def results(self) -> Iterator[Trajectory]:
        """Trajectories as they finish, until nothing that was submitted is left."""
        while True:
            while self._arrived:
                yield self._arrived.popleft()
            if not self.scheduler.in_flight():
                return
            self._pump()

    def finished_groups(self) -> Iterator[Finished]:
        """Groups as they finish, until nothing that was submitted is left."""
        while True:
            while self._finished:
                yield self._finished.popleft()
            if not self.scheduler.in_flight():
                return
            self._pump()

    def run(self, orders: Iterable[Order]) -> Iterator[Trajectory]:
        """Submit, and yield what comes back."""
        self.submit(orders)
        yield from self.results()

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Within, a thread hands out, retries and finishes, so that workers never wait for a parent that learns.

        The pool must not be used within. What went wrong there is raised on leaving.
        """
        failures: list[BaseException] = []
        over = threading.Event()
        thread = threading.Thread(target=self._serve, args=(over, failures), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if failures:
            raise failures[0]

    def publish(self, version: int, weights: Mapping[str, object], *, drain: bool = False) -> None:
        """Give new weights to every worker, or the server that it asks; returns when all have them.

        In the middle of episodes if need be, whose later tokens then carry the new version; with `drain` only once
        those in progress are over, so that no episode spans two versions.
        """
        self.start()
        folder = self.published.write(version, weights)
        self._do(self.scheduler.hold(drain))
        while drain and self.scheduler.playing():
            self._pump()
        self.published.load(version, folder)
        for hand in self._hands:
            tell(hand, ("publish", version, str(folder)))
        self.published.latest = version, str(folder)
        while any(hand.version != version for hand in self._hands):
            self._pump()
        self._do(self.scheduler.published(version, time.monotonic()))
        self._do(self.scheduler.hold(False))
        self.published.settle(folder)

    def beside(self, settings: PoolSettings) -> PoolSettings:
        """Settings for another pool on the weights that this one published last, which its servers hold already."""
        ours, theirs, latest = self.settings.servers, settings.servers, self.published.latest
        if ours is None or theirs is None or latest is None:
            return settings
        return replace(settings, servers=replace(theirs, run=ours.run, version=latest[0], held=True))

    def lend(self, threads: int) -> None:
        """Let the workers together compute with so many threads more than their own, until told otherwise."""
        self.start()
        before, self._lent = self._lent, threads
        for hand in self._hands if threads != before else ():
            self._lend_to(hand)

    def counts(self) -> dict[str, float]:
        """What all workers' engines and boxes did, up to the last publication (see `Worker.counts`)."""
        return total([*self._gone, *(hand.counts for hand in self._hands)])

    def start(self) -> None:
        """Start what is not running; returns when every worker is ready."""
        self.published.begin()
        while len(self._hands) < self.workers:
            self._hands.append(self._start_one(len(self._hands)))
            self._join(self._hands[-1])
        while not all(hand.ready for hand in self._hands):
            self._pump()

    def close(self) -> None:
        """End all workers; those that do not follow within seconds are killed."""
        for hand in self._hands:
            tell(hand, ("stop",))
        for hand in self._hands:
            hand.process.join(5)
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()
            hand.connection.close()
        self._hands, self._lent = [], 0
        self.scheduler = Scheduler(self.scheduler.rules)
        for kept in (self._orders, self._order, self._back, self._compared, self._arrived, self._finished, self._gone):
            kept.clear()
        self.published.close()

    # ------------------------------------------------------------ inside

    def _ask(self, group_id: str, orders: list[Order], need: int, version: int | None) -> None:
        self._orders[group_id] = orders
        self._order.update((order.id, order) for order in orders)
        self._do(self.scheduler.ask(group_id, [order.id for order in orders], need=need, version=version))

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Play(name, tickets):
                    self._tell(name, ("play", [(self._order[ticket[0]], ticket) for ticket in tickets]))
                case Cancel(name, tickets):
                    self._tell(name, ("cancel", tickets))
                case Replace(name):
                    next(hand for hand in self._hands if hand.name == name).process.kill()
                case Accept(ticket, failure):
                    self._accept(ticket, failure)
                case Whole(group_id, kept, stale):
                    self._whole(group_id, kept, stale)

    def _accept(self, ticket: Ticket, failure: str) -> None:
        """What came back, or, where the last attempt brought nothing, a trajectory that says so."""
        order = self._order[ticket[0]]
        if failure == DeadlineError.__name__:
            self._back[order.id] = unplayed(order, failure)
        trajectory = self._back[order.id]
        if order.group_id not in self._compared:
            self._arrived.append(trajectory)

    def _whole(self, group_id: str, kept: Sequence[str], stale: bool) -> None:
        orders = self._orders.pop(group_id)
        if group_id in self._compared:
            self._compared.remove(group_id)
            members = tuple(self._back[name] for name in kept)
            self._finished.append(Finished(Group(group_id, orders[0].task_id, members), stale))
        for order in orders:
            del self._order[order.id]
            self._back.pop(order.id, None)

    def _start_one(self, place: int) -> Hand:
        hand = start(f"worker-{self._started}", worker.main, self.settings, place)
        self._started += 1
        if self.published.latest is not None:
            tell(hand, ("publish", *self.published.latest))
        return hand

    def _lend_to(self, hand: Hand) -> None:
        tell(hand, ("threads", self.settings.threads + share(self._lent, self.workers, self._hands.index(hand))))

    def _join(self, hand: Hand) -> None:
        """A little more than runs at once is given to a worker, so that it never waits for the parent."""
        self._do(self.scheduler.join(hand.name, self.settings.concurrency * 5 // 4))

    def _pump(self, seconds: float | None = None) -> None:
        """Wait for messages, an alarm of the scheduler, or `seconds`, and take in what there is."""
        by_connection = {id(hand.connection): hand for hand in self._hands}
        alarm = self.scheduler.next_alarm()
        waits = [s for s in (seconds, None if alarm is None else max(alarm - time.monotonic(), 0.0)) if s is not None]
        for connection in wait([hand.connection for hand in self._hands], min(waits, default=None)):
            hand = by_connection[id(connection)]
            try:
                self._take(hand, hand.connection.recv())
            except (EOFError, OSError):
                self._replace(hand)
        self._do(self.scheduler.tick(time.monotonic()))

    def _serve(self, over: threading.Event, failures: list[BaseException]) -> None:
        try:
            while not over.is_set():
                self._pump(_BEAT)
        except BaseException as error:  # of a thread: raised where its starter can see it
            failures.append(error)

    def _take(self, hand: Hand, message: tuple[Any, ...]) -> None:
        now = time.monotonic()
        match message:
            case ("ready",):
                hand.ready = True
            case ("published", version, counts):
                hand.version, hand.counts = version, counts
            case ("started", ticket, at):
                self._do(self.scheduler.started(ticket, at))
            case ("gone", ticket):
                self._do(self.scheduler.gone(ticket))
            case ("done", ticket, trajectory):
                self._restarts = 0
                if self.scheduler.awaits(ticket):
                    self._back[trajectory.id] = trajectory
                failure = (trajectory.score.error or "outage") if trajectory.score.value is None else ""
                self._do(self.scheduler.finished(ticket, now, failure))
            case ("failed", RepodojoError() as error):
                raise error
            case ("failed", text):
                raise RuntimeError(f"in a worker:\n{text}")

    def _replace(self, hand: Hand) -> None:
        hand.process.join(5)
        if hand.process.is_alive():  # it let go of its connection and hangs
            hand.process.kill()
            hand.process.join()
        self._restarts += 1
        if self._restarts > MOST_RESTARTS:
            cause = f"workers died {self._restarts} times in a row, the last with code {hand.process.exitcode}"
            raise EngineError(cause, way_out="look for memory pressure, then resume")
        hand.connection.close()
        self._gone.append(hand.counts | {"threads": 0.0})
        place = self._hands.index(hand)
        fresh = self._hands[place] = self._start_one(place)
        self._lend_to(fresh)
        self._do(self.scheduler.leave(hand.name))
        self._join(fresh)

    def _tell(self, name: str, message: tuple[Any, ...]) -> None:
        tell(next(hand for hand in self._hands if hand.name == name), message)
