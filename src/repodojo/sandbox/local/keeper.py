"""What a box with the C init has Python for: file operations, and forks of the warm interpreter.

The keeper is a fork of the fork server that has entered the box's namespaces, which init hands it. Only its children
are born into the box's pid namespace; itself it stays outside, where no job can see it or send it a signal. It is made
when first needed, so that boxes which only run commands hold nothing but the C init. That passes on what the host asks,
waits for what the keeper starts, and kills what that leaves behind; when init goes, the keeper's socket closes and it
ends.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import NoReturn

from repodojo.sandbox import safefiles
from repodojo.sandbox.local import init, syscalls, wire

OWN = 2
"""Processes of a box that are none of its jobs: the C init, and this."""
NAMESPACES = (
    syscalls.NEWUSER
    | syscalls.NEWNS
    | syscalls.NEWPID
    | syscalls.NEWNET
    | syscalls.NEWIPC
    | syscalls.NEWUTS
    | syscalls.NEWCGROUP
)


def enter(namespaces: Sequence[int]) -> None:
    """Join the namespaces of a box, its user namespace first; children are born into its pid namespace from now on."""
    for handle in namespaces:
        syscalls.setns(handle)
        os.close(handle)
    os.chdir("/")


def serve(control: socket.socket, upper: int, preloaded: frozenset[str]) -> NoReturn:
    """Answer what init passes on until it is gone; `upper` is the overlay's upper folder."""
    root = safefiles.open_root("/")
    try:
        while True:
            header, handles = wire.receive(control)
            if header["op"] == "exec":
                code = _run(header, handles, preloaded)
                control.send(b"%d" % code)
            else:
                answer = _file_operation(header, handles, root, upper)
                wire.send(control, {"id": header["id"], **answer})
    except (EOFError, OSError):
        os._exit(0)


def _run(header: wire.Header, handles: list[int], preloaded: frozenset[str]) -> int:
    """Fork a job into the box and wait for its end; whoever kills it is init."""
    pid, code = init.launch(header, handles, preloaded)
    return code if pid is None else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _file_operation(header: wire.Header, handles: list[int], root: int, upper: int) -> wire.Header:
    try:
        return init.file_operation(header, handles, root, upper)
    except OSError as error:
        return {"errno": error.errno, "text": error.strerror or str(error)}
    finally:
        for handle in handles:
            os.close(handle)
