"""A worker process as the pool holds it: its end of the pipe, and how it is told something."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from repodojo.rollout.orders import PoolSettings


@dataclass
class Hand:
    """A worker process."""

    name: str
    process: Any
    connection: Connection
    ready: bool = False
    version: int = 0
    counts: dict[str, float] = field(default_factory=dict)


def tell(hand: Hand, message: tuple[Any, ...]) -> None:
    """Send; a worker that is gone is noticed, and replaced, by `_pump`."""
    with contextlib.suppress(OSError):
        hand.connection.send(message)


def start(name: str, main: Callable[[Connection, PoolSettings, int], None], settings: PoolSettings, place: int) -> Hand:
    """A new process that runs `main`, at this place among its like."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=main, args=(theirs, settings, place), daemon=True)
    with interrupts_ignored():
        process.start()
    theirs.close()
    return Hand(name, process, ours)


def share(threads: int, workers: int, place: int) -> int:
    """What the worker at this place gets of so many threads; the first ones get what is left over.

    >>> [share(5, 3, place) for place in range(3)]
    [2, 2, 1]
    """
    return threads // workers + (place < threads % workers)


def total(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The sum by name."""
    found: dict[str, float] = {}
    for one in counts:
        for name, value in one.items():
            found[name] = found.get(name, 0.0) + value
    return found


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """A process started within ignores Ctrl-C from its first instruction: its parent decides when it ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
