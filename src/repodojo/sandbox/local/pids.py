"""Which process is pid 1 of which box: the fork server's own view, told by whoever forked it."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

_LINE = struct.Struct("qq")


@dataclass(frozen=True)
class Report:
    """Where the pid of box `number` is to be told."""

    end: int
    number: int

    def fork(self) -> int:
        """Fork as os.fork does; the child goes on once its pid has been told, and so no box is ready before that."""
        told, telling = os.pipe()
        pid = os.fork()
        if pid:
            os.write(self.end, _LINE.pack(self.number, pid))  # in one piece, as writes this short are
            return pid
        for handle in (telling, self.end):
            os.close(handle)
        os.read(told, 1)  # nothing comes: it ends as the parent does
        os.close(told)
        return 0


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
        """Take in what has been told."""
        while True:
            try:
                data = os.read(self._out, _LINE.size * 256)
            except BlockingIOError:
                return
            for number, pid in _LINE.iter_unpack(data):
                self._pids[number], self._numbers[pid] = pid, number

    def forget(self, pid: int) -> None:
        """A child has been reaped. Its pid was told before it did anything, so it is known by now, and never again."""
        self.read()
        number = self._numbers.pop(pid, None)
        if number is not None:
            del self._pids[number]

    def pid_of(self, number: int) -> int | None:
        """Pid 1 of a box that has said it is ready; None where it is dead by now."""
        self.read()
        return self._pids.get(number)
