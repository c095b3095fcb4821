"""The host's side of the fork server: start it, ask it for boxes, notice its death."""

from __future__ import annotations

import asyncio
import marshal
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import repodojo
from repodojo.core.errors import SandboxError
from repodojo.core.protocols import Limits
from repodojo.sandbox.local import boxroot, keeper, skeleton, steps, talk, wire
from repodojo.sandbox.local.lines import Line, Lot
from repodojo.sandbox.local.skeleton import Plan

_START_SECONDS = 60.0
_CREATE_SECONDS = 30.0
_END_SECONDS = 60.0  # many boxes take a while to go


@dataclass(frozen=True)
class Created:
    """A box's control socket (non-blocking), and how to speak to who is behind it."""

    line: Line
    talk: talk.Talk


class Zygote:
    """A running fork server."""

    def __init__(self, plan: Plan, uid: int, lot: Lot | None = None) -> None:
        """Start it and wait until it serves (about half a second); SandboxError with the reason where it cannot.

        `lot` is where sockets of boxes are kept.
        """
        self._plan = plan
        self._lot = lot or Lot()
        self._shared = tuple(skeleton.shared_paths(plan))
        self._control, theirs = wire.pair()
        self._maker, given = wire.pair()  # leads to the C program that makes boxes, where there is one
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "repodojo.sandbox.local.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )
        self._uid = uid
        try:
            self._control.settimeout(_START_SECONDS)
            with given:
                wire.send(self._control, {"plan": asdict(plan), "uid": uid}, [given.fileno()])
            answer, _ = wire.receive(self._control)
        except (OSError, EOFError):
            self.close()
            assert self._process.stderr is not None
            text = self._process.stderr.read().decode(errors="replace").strip().splitlines()
            raise SandboxError(f"the fork server did not start: {text[-1] if text else 'no answer'}") from None
        if "failed" in answer:
            self.close()
            raise SandboxError(str(answer["failed"]))

    @property
    def pid(self) -> int:
        """The process that stands for the fork server on the host."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can still make boxes."""
        return self._process.poll() is None

    async def create(self, layout: boxroot.Layout, limits: Limits) -> Created:
        """A new box; SandboxError where it could not be made."""
        ours, theirs = wire.pair()
        ours.setblocking(False)
        try:
            self._ask_for(layout, asdict(limits), theirs.fileno())
        except OSError as error:
            ours.close()
            raise SandboxError(f"the fork server is gone: {error.strerror}") from None
        finally:
            theirs.close()
        try:
            # not wait_for: until Python 3.12 it loses a cancellation (Ctrl-C) that comes at the moment of the answer
            async with asyncio.timeout(_CREATE_SECONDS):
                answer = await receive(ours)
        except BaseException:
            ours.close()
            raise
        if "failed" in answer:
            ours.close()
            raise SandboxError(f"a box could not be made: {answer['failed']}")
        line = Line(ours, self._lot)
        if self._plan.init:
            return Created(line, talk.ToC(line, lambda: self._keeper(asdict(limits))))
        return Created(line, talk.ToPython(line))

    def _ask_for(self, layout: boxroot.Layout, limits: Mapping[str, Any], end: int) -> None:
        own = keeper.OWN if self._plan.init else 1
        wanted = [
            *steps.map_user(skeleton.INNER_UID, self._uid, os.getegid() if os.geteuid() else self._uid),
            *boxroot.build(layout, self._shared),
            steps.loopback(),
            steps.host_name("box"),
            steps.yield_memory_first(),
            *steps.confined(limits, own),
        ]
        if self._plan.init:
            body = b"%d\0" % (int(limits["memory_mb"]) << 20) + steps.encode(wanted)
            wire.send_body(self._maker, b"B0 ", body, [end])
            return
        request = wire.memory_file(marshal.dumps({"steps": [tuple(step) for step in wanted], "limits": dict(limits)}))
        try:
            wire.send(self._control, {"op": "create"}, [end, request])
        finally:
            os.close(request)

    def _keeper(self, limits: Mapping[str, Any]) -> socket.socket:
        """Init's end of the socket of a box's keeper, which is being made; OSError where the fork server is gone."""
        ours, theirs = wire.pair()
        with theirs:
            wire.send(self._control, {"op": "enter", "limits": dict(limits)}, [theirs.fileno()])
        return ours

    def close(self) -> None:
        """End the fork server and with it every box; returns when it is gone."""
        for end in (self._control, self._maker):
            end.close()
        self._lot.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


async def receive(end: socket.socket) -> wire.Header:
    """The next message of a box; SandboxError where it is gone."""
    try:
        data = await asyncio.get_running_loop().sock_recv(end, wire.PACKET)
    except OSError as error:
        raise SandboxError(f"the box is gone: {error.strerror}") from None
    if not data:
        raise SandboxError("the box is gone")
    header: wire.Header = wire.decode(data)
    return header


def _environment() -> dict[str, str]:
    """A hash seed and flags like those of a cold job, and the way to this package, whatever the working folder is."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(Path(repodojo.__file__).parent.parent),
    }
