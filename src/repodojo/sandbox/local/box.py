"""A namespace box as the Sandbox protocol sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from repodojo.core.errors import SandboxError
from repodojo.core.protocols import ExecResult, Limits
from repodojo.sandbox import difference, outcome, safefiles
from repodojo.sandbox.environments import BoxSpec
from repodojo.sandbox.local import boxroot, client, machine, skeleton, wire
from repodojo.sandbox.pump import Pipe

SEARCH = f"{boxroot.BIN}:/usr/local/bin:/usr/bin:/bin"
PYTHON_PATH = f"{boxroot.SITE}:{skeleton.GUEST}:{skeleton.KIT}"
_GRACE = 15.0  # seconds for init to kill and reap everything


class Box:
    """One box. Calls are served one after another; whatever a command left running is killed when it ends."""

    def __init__(self, created: client.Created, spec: BoxSpec, limits: Limits, owner: object = None) -> None:
        self._owner = owner  # what must live as long as the box does
        self._line, self._talk = created.line, created.talk
        weakref.finalize(self, self._line.close).atexit = False  # one that is forgotten ends as well
        self._spec = spec
        self._limits = limits
        self._lock = asyncio.Lock()
        self._count = 0
        self.refused: tuple[str, ...] = ()
        """Paths that the last `changes` left out: links, special files, files over the cap, names past printing."""

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        seconds: float | None = None,
        warm: bool = False,
    ) -> ExecResult:
        if refused := outcome.unspeakable(argv):
            return refused
        header = {
            "op": "exec",
            "argv": list(argv),
            "cwd": "/" + "/".join(safefiles.parts_of(cwd or ".", self._spec.work_dir)),
            "env": outcome.variables(SEARCH, PYTHON_PATH, self._spec.variables, env or {}),
            "warm": warm and _can_be_warm(argv) and machine.warm_fits(self._spec.site),
        }
        async with self._lock:
            with self._line.open():
                return await self._run(header, stdin, self._limits.seconds if seconds is None else seconds)

    async def _run(self, header: wire.Header, stdin: bytes, seconds: float) -> ExecResult:
        began = time.monotonic()
        reasons: list[str] = []

        def end(reason: str) -> None:
            reasons.append(reason)
            self._kill()

        output = Pipe(self._limits.output_bytes, lambda: end("output"))
        report = Pipe(outcome.REPORT_CAP, lambda: end("output"))
        given = wire.memory_file(stdin, sealed=True)
        try:
            try:
                number = self._send(header, [given, output.writer, report.writer])
            finally:
                os.close(given)
                output.given()
                report.given()
            answer = await self._await_answer(number, seconds, lambda: end("timeout"))
        finally:
            texts = output.finish(), report.finish()
        if answer["reason"] == "memory":
            reasons.insert(0, "memory")
        reason = reasons[0] if reasons and answer["reason"] else ""
        if not reason and output.full:
            reason = "output"  # the cap was met in the very last bytes
        return outcome.result(int(answer["code"]), reason, *texts, time.monotonic() - began)

    async def _await_answer(self, number: int, seconds: float, late: Callable[[], None]) -> wire.Header:
        """The answer to request `number`; `late` is called after `seconds`, and must lead to one."""
        task = asyncio.ensure_future(self._answer(number))
        try:
            # not wait_for: it could drop an answer that arrives as the time runs out
            if not (await asyncio.wait({task}, timeout=seconds))[0]:
                late()
                if not (await asyncio.wait({task}, timeout=_GRACE))[0]:
                    self._line.close()
                    raise SandboxError(f"a box did not stop within {_GRACE:.0f} s of being told to")
            return task.result()
        except asyncio.CancelledError:
            self._kill()
            raise
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    def _send(self, header: wire.Header, handles: Sequence[int]) -> int:
        self._count += 1
        try:
            self._talk.send(self._count, header, handles)
        except OSError as error:
            raise SandboxError(f"the box is gone: {error.strerror}") from None
        return self._count

    def _kill(self) -> None:
        with contextlib.suppress(OSError):  # gone already: the next answer says so
            self._talk.kill()

    async def _answer(self, number: int) -> wire.Header:
        """The answer to request `number`; those of requests that were cancelled are passed over."""
        while True:
            answer = await client.receive(self._line.end)
            if answer["id"] == number:
                if "lost" in answer:
                    raise SandboxError(str(answer["lost"]))
                return answer

    async def _ask(self, header: wire.Header, data: bytes = b"") -> tuple[wire.Header, bytes]:
        """A file operation: its answer, and the bytes that came with it."""
        async with self._lock:
            with self._line.open():
                handle = wire.memory_file(data)
                try:
                    answer = await self._await_answer(self._send(header, [handle]), _GRACE, self._kill)
                    if "errno" in answer:
                        raise OSError(answer["errno"], answer["text"], "/".join(header.get("parts", ())))
                    return answer, wire.contents(handle, int(answer.get("size", 0)) + int(answer.get("head", 0)))
                finally:
                    os.close(handle)

    async def read(self, path: str) -> bytes:
        header = {"op": "read", "parts": self._parts(path), "cap": difference.FILE_CAP}
        return (await self._ask(header))[1]

    async def write(self, path: str, data: bytes | None) -> None:
        if data is None:
            await self._ask({"op": "delete", "parts": self._parts(path)})
        else:
            await self._ask({"op": "write", "parts": self._parts(path), "size": len(data)}, data)

    async def listdir(self, path: str = ".") -> list[str]:
        names: list[str] = json.loads((await self._ask({"op": "list", "parts": self._parts(path)}))[1])
        return names

    async def changes(self) -> Mapping[str, bytes | None]:
        caps = {"file_cap": difference.FILE_CAP, "total_cap": difference.TOTAL_CAP}
        answer, data = await self._ask({"op": "scan", **caps})
        head = int(answer["head"])
        listing: dict[str, Any] = json.loads(data[:head])
        files, offset = {}, head
        for name, size in listing["files"]:
            files[name] = data[offset : offset + size]
            offset += size
        self.refused = tuple(listing["refused"])
        return difference.from_upper(self._spec, files, listing["deleted"], listing["opaque"], self.refused)

    def _parts(self, path: str) -> tuple[str, ...]:
        return safefiles.parts_of(path, self._spec.work_dir)

    @property
    def closed(self) -> bool:
        """Whether the box has been given back."""
        return self._line.closed

    async def close(self) -> None:
        self._line.close()


def _can_be_warm(argv: Sequence[str]) -> bool:
    """("python", "-m", module, ...) or ("python", file, ...): anything else has a meaning of its own."""
    if len(argv) < 2 or argv[0] != "python":
        return False
    return len(argv) > 2 if argv[1] == "-m" else not argv[1].startswith("-")
