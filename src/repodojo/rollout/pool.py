"""Worker processes seen from the parent: orders in, trajectories out, weights published in between."""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from repodojo.core.errors import EngineError, RepodojoError
from repodojo.core.records import Trajectory
from repodojo.rollout import worker
from repodojo.rollout.orders import MODEL, Order, PoolSettings, seed_of

MOST_RESTARTS = 3  # without an episode finished in between


@dataclass
class _Hand:
    """A worker process and what it was asked for."""

    process: Any
    connection: Connection
    ready: bool = False
    version: int = 0
    owed: dict[str, Order] = field(default_factory=dict)


class WorkerPool:
    """A fixed number of workers. Start is lazy; `close` (or leaving the context) ends them and their boxes."""

    def __init__(self, settings: PoolSettings, workers: int) -> None:
        self.settings, self.workers = settings, workers
        self._context = multiprocessing.get_context("spawn")
        self._hands: list[_Hand] = []
        self._queue: deque[list[Order]] = deque()
        self._arrived: deque[Trajectory] = deque()
        self._restarts = 0
        self._folder: Path | None = None
        self._published: tuple[int, str] | None = None

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, orders: Iterable[Order]) -> None:
        """Queue episodes. Orders of a group stay together; a worker that dies has its orders replayed elsewhere."""
        self._queue.extend(list(group) for _, group in groupby(orders, key=lambda order: order.group_id))
        self.start()
        self._hand_out()

    def results(self) -> Iterator[Trajectory]:
        """Trajectories as they finish, until nothing that was submitted is left."""
        while self._arrived or self._queue or any(hand.owed for hand in self._hands):
            while self._arrived:
                yield self._arrived.popleft()
            self._hand_out()
            if any(hand.owed for hand in self._hands):
                self._pump()

    def run(self, orders: Iterable[Order]) -> Iterator[Trajectory]:
        """Submit, and yield what comes back."""
        self.submit(orders)
        yield from self.results()

    def publish(self, version: int, weights: Mapping[str, object]) -> None:
        """Give new weights to every worker, in the middle of episodes if need be; returns when all have them."""
        from safetensors.torch import save_file

        self.start()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="repodojo-weights-"))
        folder = self._folder / str(version)
        folder.mkdir(exist_ok=True)
        save_file(dict(weights), folder / "model.safetensors")  # type: ignore[arg-type]
        old, self._published = self._published, (version, str(folder))
        for hand in self._hands:
            _tell(hand, ("publish", version, str(folder)))
        while any(hand.version != version for hand in self._hands):
            self._pump()
        if old is not None and old[1] != str(folder):
            shutil.rmtree(old[1], ignore_errors=True)

    def start(self) -> None:
        """Start what is not running; returns when every worker is ready."""
        while len(self._hands) < self.workers:
            self._hands.append(self._start_one())
        while not all(hand.ready for hand in self._hands):
            self._pump()

    def close(self) -> None:
        """End all workers; those that do not follow within seconds are killed."""
        for hand in self._hands:
            _tell(hand, ("stop",))
        for hand in self._hands:
            hand.process.join(5)
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()
            hand.connection.close()
        self._hands = []
        self._queue.clear()
        self._arrived.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder, self._published = None, None

    def _start_one(self) -> _Hand:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=worker.main, args=(theirs, self.settings), daemon=True)
        with _interrupts_ignored():
            process.start()
        theirs.close()
        hand = _Hand(process, ours)
        if self._published is not None:
            _tell(hand, ("publish", *self._published))
        return hand

    def _hand_out(self) -> None:
        """Whole groups to whoever has room; a little more than runs at once, so that no worker waits for the parent."""
        while self._queue:
            hand = min(self._hands, key=lambda h: len(h.owed))
            if hand.owed and len(hand.owed) + len(self._queue[0]) > self.settings.concurrency * 5 // 4:
                return
            orders = self._queue.popleft()
            hand.owed.update((order.id, order) for order in orders)
            _tell(hand, ("play", orders))

    def _pump(self) -> None:
        """Wait for messages and take them in; a dead worker is replaced, its orders go back to the front."""
        by_connection = {id(hand.connection): hand for hand in self._hands}
        for connection in wait([hand.connection for hand in self._hands]):
            hand = by_connection[id(connection)]
            try:
                self._take(hand, hand.connection.recv())
            except (EOFError, OSError):
                self._replace(hand)

    def _take(self, hand: _Hand, message: tuple[Any, ...]) -> None:
        match message:
            case ("ready",):
                hand.ready = True
            case ("published", version):
                hand.version = version
            case ("done", trajectory):
                if hand.owed.pop(trajectory.id, None) is not None:
                    self._arrived.append(trajectory)
                    self._restarts = 0
            case ("failed", RepodojoError() as error):
                raise error
            case ("failed", text):
                raise RuntimeError(f"in a worker:\n{text}")

    def _replace(self, hand: _Hand) -> None:
        hand.process.join(5)
        if hand.process.is_alive():  # it let go of its connection and hangs
            hand.process.kill()
            hand.process.join()
        self._restarts += 1
        if self._restarts > MOST_RESTARTS:
            cause = f"workers died {self._restarts} times in a row, the last with code {hand.process.exitcode}"
            raise EngineError(cause, way_out="look for memory pressure, then resume")
        lost = [list(group) for _, group in groupby(hand.owed.values(), key=lambda order: order.group_id)]
        self._queue.extendleft(reversed(lost))
        hand.connection.close()
        self._hands[self._hands.index(hand)] = self._start_one()


def _tell(hand: _Hand, message: tuple[Any, ...]) -> None:
    """Send; a worker that is gone is noticed, and replaced, by `_pump`."""
    with contextlib.suppress(OSError):
        hand.connection.send(message)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """A process started within ignores Ctrl-C from its first instruction: its parent decides when it ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def group_orders(
    task_ids: Sequence[str], *, size: int, prefix: str, seed: int, policy: str = MODEL, temperature: float = 1.0
) -> list[Order]:
    """`size` orders for each task; ids and seeds follow from `prefix`, position and task alone."""
    return [
        Order(
            id=f"{prefix}/{position}/{member}",
            task_id=task_id,
            group_id=f"{prefix}/{position}",
            seed=seed_of(seed, prefix, position, task_id, member),
            policy=policy,
            temperature=temperature,
        )
        for position, task_id in enumerate(task_ids)
        for member in range(size)
    ]
