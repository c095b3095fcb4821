"""How the host speaks to pid 1 of a box: JSON to the Python init, letters and plain fields to the C one (init.c)."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from repodojo.sandbox.local import jobs, wire
from repodojo.sandbox.local.lines import Line


class Talk(Protocol):
    """One box's language, over a line that is open."""

    def send(self, number: int, header: wire.Header, handles: Sequence[int]) -> None:
        """Send request `number`; OSError where the box is gone."""
        ...

    def kill(self) -> None:
        """Have all that runs killed; OSError where the box is gone."""
        ...


class ToPython:
    """Each message is one JSON object."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def send(self, number: int, header: wire.Header, handles: Sequence[int]) -> None:
        wire.send(self._line.end, {"id": number, **header}, handles)

    def kill(self) -> None:
        wire.send(self._line.end, {"op": "kill"})


class ToC:
    """Cold commands for init itself; what needs Python for its keeper, who is called when first needed."""

    def __init__(self, line: Line, call_keeper: Callable[[], socket.socket]) -> None:
        self._line = line
        self._call_keeper = call_keeper
        self._has_keeper = False

    def send(self, number: int, header: wire.Header, handles: Sequence[int]) -> None:
        if header["op"] == "exec" and not header["warm"]:
            wire.send_body(self._line.end, b"X%d " % number, command(header), handles)
            return
        if not self._has_keeper:
            with self._call_keeper() as end:
                socket.send_fds(self._line.end, [b"S0 "], [end.fileno()])
            self._has_keeper = True
        letter = b"W" if header["op"] == "exec" else b"F"
        wire.send_body(
            self._line.end, b"%s%d " % (letter, number), json.dumps({"id": number, **header}).encode(), handles
        )

    def kill(self) -> None:
        self._line.end.send(b"K0 ")


def command(header: wire.Header) -> bytes:
    """Folder, number of arguments, arguments, and variables, each ended by NUL.

    >>> command({"cwd": "/", "argv": ["true"], "env": {}})
    b'/\\x001\\x00true\\x00REPODOJO_REPORT_FD=3\\x00'
    """
    argv = [str(word) for word in header["argv"]]
    variables = [f"{name}={value}" for name, value in jobs.environment(header["env"]).items()]
    fields = (str(header["cwd"]), str(len(argv)), *argv, *variables)
    return b"".join(os.fsencode(field) + b"\0" for field in fields)
