"""A worker process as the pool holds it: its end of the pipe, and how it is told something."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any


@dataclass
class Hand:
    """A worker process."""

    name: str
    process: Any
    connection: Connection
    ready: bool = False
    version: int = 0


def tell(hand: Hand, message: tuple[Any, ...]) -> None:
    """Send; a worker that is gone is noticed, and replaced, by `_pump`."""
    with contextlib.suppress(OSError):
        hand.connection.send(message)


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
