"""Messages between host, fork server and boxes: one JSON object a SEQPACKET packet, with descriptors beside it.

A header too long for a packet travels in a memory file. Bytes of files travel in memory files as well, so that
neither side ever waits on the other to drain a pipe.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

PACKET = 65536
_INLINE = 32768
_DESCRIPTORS = 8
_INT = array.array("i").itemsize

Header = dict[str, Any]


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends; neither is inherited by other programs."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def memory_file(data: bytes = b"", *, sealed: bool = False) -> int:
    """A descriptor of an anonymous file that holds `data`, positioned at its start; `sealed` forbids any change."""
    handle = os.memfd_create("repodojo", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
    os.lseek(handle, 0, os.SEEK_SET)
    if sealed:
        fcntl.fcntl(handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return handle


def contents(handle: int, size: int) -> bytes:
    """The first `size` bytes of a memory file."""
    data = bytearray()
    while len(data) < size:
        part = os.pread(handle, min(size - len(data), 1 << 20), len(data))
        if not part:
            break
        data += part
    return bytes(data)


def send(end: socket.socket, header: Header, handles: Sequence[int] = ()) -> None:
    """Send one message; OSError where the other side is gone."""
    send_body(end, b"", json.dumps(header).encode(), handles)


def send_body(end: socket.socket, prefix: bytes, body: bytes, handles: Sequence[int] = ()) -> None:
    """Send `prefix` and `body`; a long body goes into a memory file, and its length stands in the packet."""
    if len(body) <= _INLINE:
        socket.send_fds(end, [prefix + body], list(handles))
        return
    spilled = memory_file(body)
    try:
        socket.send_fds(end, [prefix + b"%d" % len(body)], [spilled, *handles])
    finally:
        os.close(spilled)


def decode(data: bytes) -> Header:
    """A message that came without descriptors."""
    header: Header = json.loads(data)
    return header


def receive(end: socket.socket) -> tuple[Header, list[int]]:
    """Wait for one message; EOFError where the other side is gone. The caller closes the descriptors."""
    room = socket.CMSG_SPACE(_DESCRIPTORS * _INT)
    # not socket.recv_fds: it drops its flags, and jobs would inherit what is received here
    data, extra, _, _ = end.recvmsg(PACKET, room, socket.MSG_CMSG_CLOEXEC)
    handles = [
        handle
        for level, kind, block in extra
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        for handle in array.array("i", block[: len(block) - len(block) % _INT])
    ]
    if not data:
        raise EOFError
    header = json.loads(data)
    if isinstance(header, int):
        spilled = handles.pop(0)
        header = json.loads(contents(spilled, header))
        os.close(spilled)
    return header, handles
