"""Sockets of boxes, and where they are kept: a process may hold so many descriptors, and boxes may be more.

Those used longest ago are handed to a holder, a process that does nothing else, and fetched when they are needed. A
holder ends when this process does, and with it the boxes whose sockets it had.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import repodojo
from repodojo.core.errors import SandboxError
from repodojo.sandbox.local import wire

_SPARE = 64  # descriptors that a holder needs for itself, and to spare
_ANSWER_SECONDS = 60.0


class Line:
    """The socket of one box, in this process or in a holder."""

    def __init__(self, end: socket.socket, lot: Lot) -> None:
        self._lot = lot
        self.here: socket.socket | None = end
        self.holder: Holder | None = None
        self.closed = False
        self._number = lot.enter(self)

    @contextlib.contextmanager
    def open(self) -> Iterator[socket.socket]:
        """Within, the socket is here; SandboxError where it cannot be had any more."""
        if self.closed:
            raise SandboxError("the box is gone: it has been closed")
        end = self._lot.use(self)
        try:
            yield end
        finally:
            self._lot.unused(self)

    @property
    def end(self) -> socket.socket:
        """The socket, within `open`; a closed one where the line has been closed meanwhile."""
        assert self.here is not None
        return self.here

    def park(self, holder: Holder) -> None:
        """Hand the socket to a holder."""
        assert self.here is not None
        holder.keep(self._number, self.here)
        self.here.close()
        self.here, self.holder = None, holder

    def fetch(self) -> socket.socket:
        """The socket, back from its holder if it was there."""
        if self.here is None:
            assert self.holder is not None
            self.here = self.holder.give(self._number)
            self.here.setblocking(False)
            self.holder = None
        return self.here

    def close(self) -> None:
        """End the box; nothing where that has been done."""
        if self.closed:
            return
        self.closed = True
        self._lot.leave(self)
        if self.here is not None:
            self.here.close()
        elif self.holder is not None:
            self.holder.drop(self._number)
            self._lot.dropped(self.holder)


class Lot:
    """All lines of this process's boxes: `room` of them are here (half of what descriptors allow), the others held."""

    def __init__(self, room: int | None = None) -> None:
        self.room = room
        self.holders: list[Holder] = []
        self._numbers = 0
        self._idle: OrderedDict[Line, None] = OrderedDict()
        self._busy: dict[Line, int] = {}

    def enter(self, line: Line) -> int:
        """A line more, which is being used first by whoever made it; its number."""
        self._numbers += 1
        self._idle[line] = None
        try:
            self._make_room(but=line)
        except SandboxError:
            line.close()
            raise
        return self._numbers

    def use(self, line: Line) -> socket.socket:
        """Have a line here until it is `unused`."""
        self._idle.pop(line, None)
        self._busy[line] = self._busy.get(line, 0) + 1
        try:
            end = line.fetch()
        except BaseException:
            self.unused(line)
            raise
        self._make_room(but=line)
        return end

    def unused(self, line: Line) -> None:
        """One user of a line fewer."""
        self._busy[line] -= 1
        if not self._busy[line]:
            del self._busy[line]
            if line.here is not None and not line.closed:
                self._idle[line] = None

    def leave(self, line: Line) -> None:
        """A line fewer."""
        self._idle.pop(line, None)

    def dropped(self, holder: Holder) -> None:
        """End a holder that has nothing to keep any more."""
        if holder.empty and holder in self.holders:
            self.holders.remove(holder)
            holder.close()

    def close(self) -> None:
        """End the holders, and with them the boxes whose sockets they have."""
        for holder in self.holders:
            holder.close()
        self.holders.clear()

    def _make_room(self, but: Line) -> None:
        room = self.room or resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        while len(self._idle) + len(self._busy) > room and self._idle:
            oldest = next(iter(self._idle))
            if oldest is but:
                return
            holder = self._holder()
            try:
                oldest.park(holder)
            except SandboxError:  # what it kept is lost, and will be missed where it is needed
                self.holders.remove(holder)
                continue
            del self._idle[oldest]

    def _holder(self) -> Holder:
        for holder in self.holders:
            if holder.room > 0:
                return holder
        self.holders.append(Holder())
        return self.holders[-1]


class Holder:
    """A process that keeps descriptors by number."""

    def __init__(self) -> None:
        self._control, theirs = wire.pair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-m", "repodojo.sandbox.local.lines", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd="/",
                env={"PYTHONPATH": str(Path(repodojo.__file__).parent.parent)},
                start_new_session=True,
            )
        self._control.settimeout(_ANSWER_SECONDS)
        self.room = self._size = int(self._answer()[0])

    @property
    def empty(self) -> bool:
        """Whether it keeps nothing."""
        return self.room == self._size

    def keep(self, number: int, end: socket.socket) -> None:
        """Take in a descriptor of the caller's, who then closes his. Not waited for: that made boxes wait in turn."""
        self.room -= 1
        self._tell(b"keep %d" % number, [end.fileno()])

    def give(self, number: int) -> socket.socket:
        """Hand out what was kept."""
        self.room += 1
        self._tell(b"give %d" % number)
        _, handles = self._answer()
        return socket.socket(fileno=handles[0])

    def drop(self, number: int) -> None:
        """Let go of what was kept."""
        self.room += 1
        with contextlib.suppress(SandboxError):  # gone, and so is what it kept
            self._tell(b"drop %d" % number)

    def close(self) -> None:
        """End it, and return when it has ended."""
        self._control.close()
        self._process.wait()

    def _tell(self, request: bytes, handles: Sequence[int] = ()) -> None:
        try:
            socket.send_fds(self._control, [request], handles)
        except OSError as error:
            raise SandboxError(f"the holder of the box's socket is gone: {error}") from None

    def _answer(self) -> tuple[bytes, list[int]]:
        try:
            data, handles, _, _ = socket.recv_fds(self._control, wire.PACKET, 1)
        except OSError as error:
            raise SandboxError(f"the holder of the box's socket is gone: {error}") from None
        if not data:
            raise SandboxError("the holder of the box's socket is gone")
        for handle in handles:
            os.set_inheritable(handle, False)
        return data, handles


def hold(control: socket.socket) -> None:
    """Be a holder until the other side is gone: say how many descriptors fit, then keep, give and drop."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kept: dict[bytes, int] = {}
    control.send(b"%d" % (most - _SPARE))
    while True:
        data, handles, _, _ = socket.recv_fds(control, wire.PACKET, 1)
        if not data:
            return
        kind, number = data.split()
        if kind == b"keep":
            kept[number] = handles[0]
            continue
        handle = kept.pop(number)
        if kind == b"give":
            socket.send_fds(control, [b"given"], [handle])
        os.close(handle)


if __name__ == "__main__":
    hold(socket.socket(fileno=int(sys.argv[1])))
