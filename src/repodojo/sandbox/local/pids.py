"""Which process is pid 1 of which box: the fork server's own view, told by whoever forked it."""

from __future__ import annotations

import os
import select
import struct
from dataclasses import dataclass

_LINE = struct.Struct("qq")
_WAIT_MS = 10_000


@dataclass(frozen=True)
class Report:
    """Where the pid of box `number` is to be told."""

    end: int
    number: int

    def tell(self, pid: int) -> None:
        """Say it, in one piece (writes this short are)."""
        os.write(self.end, _LINE.pack(self.number, pid))


class Born:
    """Boxes by number, as long as they live. A pid is ours until we have reaped it, so none stands for another."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        os.set_blocking(self._out, False)
        self._pids: dict[int, int] = {}
        self._numbers: dict[int, int] = {}

    def report_of(self, number: int) -> Report:
        """For the process that will fork it."""
        return Report(self._in, number)

    def read(self) -> None:
        """Take in what has been told. To be called before reaping: the dead are forgotten, not told of again."""
        while True:
            try:
                data = os.read(self._out, _LINE.size * 256)
            except BlockingIOError:
                return
            for number, pid in _LINE.iter_unpack(data):
                self._pids[number], self._numbers[pid] = pid, number

    def forget(self, pid: int) -> None:
        """A child has been reaped."""
        number = self._numbers.pop(pid, None)
        if number is not None:
            del self._pids[number]

    def pid_of(self, number: int) -> int | None:
        """Pid 1 of a box that has said it is ready: whoever forked it may be about to say so; None where it is dead."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        while number not in self._pids and poll.poll(_WAIT_MS):
            self.read()
        return self._pids.get(number)
