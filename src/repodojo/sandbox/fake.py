"""An in-memory sandbox: files in a dict, commands answered by a function. For tests and for trying things out."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence

from repodojo.core.protocols import ExecResult, Sandbox
from repodojo.core.records import Environment
from repodojo.sandbox import safefiles

Run = Callable[[Sequence[str], MutableMapping[str, bytes]], ExecResult]
"""Gets the command and the files (absolute paths, which it may change)."""


def answers_nothing(argv: Sequence[str], files: MutableMapping[str, bytes]) -> ExecResult:
    """Every command ends well and prints nothing."""
    return ExecResult(0, b"")


class FakeSandbox:
    """`files` maps paths relative to the work dir to bytes; `commands` keeps what was asked to run.

    >>> import asyncio
    >>> box = FakeSandbox({"a.py": b"x = 1"}, lambda argv, files: ExecResult(0, " ".join(argv).encode()))
    >>> asyncio.run(box.exec(["echo", "hello"])).output
    b'echo hello'
    """

    def __init__(self, files: Mapping[str, bytes], run: Run = answers_nothing, work_dir: str = "/testbed") -> None:
        self._work_dir = work_dir
        self._base = {self._full(path): data for path, data in files.items()}
        self.files = dict(self._base)
        self.run = run
        self.commands: list[tuple[str, ...]] = []
        self.closed = False

    def _full(self, path: str) -> str:
        return "/" + "/".join(safefiles.parts_of(path, self._work_dir))

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
        self.commands.append(tuple(argv))
        return self.run(argv, self.files)

    async def read(self, path: str) -> bytes:
        full = self._full(path)
        if full not in self.files:
            raise _error(errno.EISDIR if self._is_folder(full) else errno.ENOENT, path)
        return self.files[full]

    async def write(self, path: str, data: bytes | None) -> None:
        full = self._full(path)
        if self._is_folder(full):
            raise _error(errno.EISDIR, path)
        if data is not None:
            self.files[full] = data
        elif self.files.pop(full, None) is None:
            raise _error(errno.ENOENT, path)

    async def listdir(self, path: str = ".") -> list[str]:
        full = self._full(path)
        if not self._is_folder(full) and full != self._full("."):
            raise _error(errno.ENOTDIR if full in self.files else errno.ENOENT, path)
        below = (name[len(full) :].lstrip("/") for name in self.files if name.startswith(full.rstrip("/") + "/"))
        return sorted({name.partition("/")[0] + ("/" if "/" in name else "") for name in below})

    def _is_folder(self, full: str) -> bool:
        return any(name.startswith(full.rstrip("/") + "/") for name in self.files)

    async def changes(self) -> Mapping[str, bytes | None]:
        start = self._full(".") + "/"
        both = sorted({*self._base, *self.files})
        return {
            path[len(start) :]: self.files.get(path)
            for path in both
            if path.startswith(start)
            and not safefiles.ignored(path[len(start) :])
            and self.files.get(path) != self._base.get(path)
        }

    async def close(self) -> None:
        self.closed = True


class FakeFactory:
    """Hands out fake boxes with the same files; `boxes` keeps them for looking at."""

    def __init__(self, files: Mapping[str, bytes], run: Run = answers_nothing) -> None:
        self._files = dict(files)
        self._run = run
        self.boxes: list[FakeSandbox] = []

    async def create(self, environment: Environment) -> Sandbox:
        self.boxes.append(FakeSandbox(self._files, self._run, environment.work_dir))
        return self.boxes[-1]

    async def close(self) -> None:
        for box in self.boxes:
            await box.close()


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
