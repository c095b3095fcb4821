"""Reads a job's output and report as they come, within their caps, without blocking the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_CHUNK = 1 << 16


class Pipe:
    """One end to give away (`writer`) and what came through, up to `cap` bytes; `overflow` is called at the cap."""

    def __init__(self, cap: int, overflow: Callable[[], None]) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._cap = cap
        self._overflow = overflow
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._ready)
        self._open = True
        self.data = bytearray()
        self.full = False

    def _ready(self) -> None:
        try:
            part = os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return
        room = self._cap - len(self.data)
        self.data += part[:room]
        if len(part) > room and not self.full:
            self.full = True
            self._overflow()
        if not part or self.full:
            self._stop()

    def _stop(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._reader)

    def given(self) -> None:
        """The writing end has been passed on: close ours."""
        os.close(self.writer)

    def finish(self) -> bytes:
        """Take what is still in the pipe (every writer is dead by now) and close it."""
        while self._open:
            before = len(self.data)
            self._ready()
            if self._open and len(self.data) == before:
                self._stop()  # nothing more, and no end either: somebody else holds the pipe
        os.close(self._reader)
        return bytes(self.data)
