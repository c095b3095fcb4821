"""A box that is not made until something is executed: reading, writing and the difference need only the host's base."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from repodojo.core.errors import SandboxError
from repodojo.core.protocols import ExecResult, Sandbox
from repodojo.sandbox import bytecode, difference, safefiles
from repodojo.sandbox.environments import BoxSpec

_KEPT = 32 << 20  # bytes of pending writes past which a real box takes over
Kind = Literal["file", "folder", "missing", "other"]


class LazySandbox:
    """Serves files from the tree, its edits and pending writes; at the first `exec` makes the real box and passes on.

    What cannot be answered alike from here (a path outside the work dir, a link in the tree) makes the real box too.
    """

    def __init__(self, spec: BoxSpec, make: Callable[[BoxSpec], Awaitable[Sandbox]]) -> None:
        self._spec = spec
        self._make = make
        self._real: Sandbox | None = None
        self._lock = asyncio.Lock()
        self._log: list[tuple[str, bytes | None]] = []
        self._pending: dict[str, bytes | None] = {}
        self._folders: set[str] = set()
        self._size = 0
        self._refused: tuple[str, ...] = ()
        self._home = safefiles.parts_of(".", spec.work_dir)
        self._shown: tuple[str, bytes] | None = None
        self._running, self._epoch = 0, 0
        self.closed = False

    @property
    def real(self) -> Sandbox | None:
        """The box behind, where one was needed."""
        return self._real

    @property
    def refused(self) -> tuple[str, ...]:
        """Paths that the last `changes` left out."""
        return tuple(getattr(self._real, "refused", ())) if self._real else self._refused

    async def _box(self) -> Sandbox:
        async with self._lock:
            if self.closed:
                raise SandboxError("this box has been closed")
            if self._real is None:
                box = await self._make(self._spec)
                for path, data in self._log:
                    await box.write(path, data)
                self._real = box
                self._log.clear()
        return self._real

    def _inside(self, path: str) -> str | None:
        """The path relative to the work dir, or None where only a real box can answer."""
        parts = safefiles.parts_of(path, self._spec.work_dir)
        if self._real is not None or self.closed or parts[: len(self._home)] != self._home:
            return None
        below = parts[len(self._home) :]
        if (
            bytecode.FOLDER in below
            and (self._spec.tree / "/".join(below[: below.index(bytecode.FOLDER) + 1])).exists()
        ):
            return None  # the real box knows which byte code it was denied
        if any(self._kind("/".join(below[:length])) == "other" for length in range(1, len(below) + 1)):
            return None
        return "/".join(below)

    def _kind(self, path: str) -> Kind:
        """What is at a path whose parents are no links."""
        if path in self._folders or not path:
            return "folder"
        if path in self._pending:
            return "missing" if self._pending[path] is None else "file"
        if path in self._spec.overlay:
            return "file"
        try:
            mode = os.lstat(self._spec.tree / path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return "missing"
        return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"

    def _check_parents(self, path: str, *, make: bool = False) -> None:
        parts = path.split("/")
        for length in range(1, len(parts)):
            parent = "/".join(parts[:length])
            kind = self._kind(parent)
            if kind == "file":
                raise _error(errno.ENOTDIR, path)
            if kind == "missing":
                if not make:
                    raise _error(errno.ENOENT, path)
                self._folders.add(parent)  # where a file was deleted, that stays noted in _pending

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
        box = await self._box()
        self._forget()
        self._running += 1
        try:
            return await box.exec(argv, cwd=cwd, env=env, stdin=stdin, seconds=seconds, warm=warm)
        finally:
            self._running -= 1
            self._forget()

    def _forget(self) -> int:
        """The file that was shown may be another from now on; returns a number that holds until this happens again."""
        self._shown = None
        self._epoch += 1
        return self._epoch

    def _show(self, path: str, data: bytes, epoch: int) -> None:
        """A file of the real box that need not be asked for again: nothing lives in a box between two commands.

        (In an unisolated one a process may that left its group; then the agent reads what it wrote itself. What counts,
        `changes`, is always asked of the box.)
        """
        if epoch == self._epoch and not self._running and len(data) <= difference.FILE_CAP:
            self._shown = path, data

    async def read(self, path: str) -> bytes:
        inside = self._inside(path)
        if inside is None:
            if self._shown is not None and self._shown[0] == path and not self.closed:
                return self._shown[1]
            box, epoch = await self._box(), self._epoch
            data = await box.read(path)
            self._show(path, data, epoch)
            return data
        self._check_parents(inside)
        kind = self._kind(inside)
        if kind != "file":
            raise _error(errno.ENOENT if kind == "missing" else errno.EISDIR, path)
        held = self._pending.get(inside)
        held = held if held is not None else difference.base_bytes(self._spec, inside)
        if held is None or len(held) > difference.FILE_CAP:
            raise OSError(errno.EFBIG, f"longer than {difference.FILE_CAP} bytes", path)
        return held

    async def write(self, path: str, data: bytes | None) -> None:
        inside = self._inside(path)
        if inside is None or self._size + len(data or b"") > _KEPT:
            box, epoch = await self._box(), self._forget()
            await box.write(path, data)
            if data is not None:
                self._show(path, data, epoch)
            return
        self._check_parents(inside, make=data is not None)
        kind = self._kind(inside)
        if kind == "folder":
            raise _error(errno.EISDIR, path)
        if kind == "missing" and data is None:
            raise _error(errno.ENOENT, path)
        self._pending[inside] = data
        self._log.append((inside, data))
        self._size += len(data or b"")

    async def listdir(self, path: str = ".") -> list[str]:
        inside = self._inside(path)
        if inside is None:
            return await (await self._box()).listdir(path)
        if inside:
            self._check_parents(inside)
        kind = self._kind(inside)
        if kind != "folder":
            raise _error(errno.ENOENT if kind == "missing" else errno.ENOTDIR, path)
        prefix = f"{inside}/" if inside else ""
        names: set[str] = set()
        if (self._spec.tree / inside).is_dir():
            names.update(os.listdir(self._spec.tree / inside))
        for known in (*self._pending, *self._folders, *self._spec.overlay):
            if known.startswith(prefix) and known != inside:
                names.add(known[len(prefix) :].partition("/")[0])
        kinds = {name: self._kind(prefix + name) for name in names}
        return sorted(f"{n}/" if kind == "folder" else n for n, kind in kinds.items() if kind != "missing")

    async def changes(self) -> Mapping[str, bytes | None]:
        if self._real is not None or self.closed:
            return await (await self._box()).changes()
        wanted = {path: data for path, data in sorted(self._pending.items()) if not safefiles.ignored(path)}
        refused = {p for p, data in wanted.items() if data and (len(data) > difference.FILE_CAP or not p.isprintable())}
        self._refused = tuple(sorted(refused))
        base = {path: difference.base_bytes(self._spec, path) for path in wanted}
        return {path: data for path, data in wanted.items() if path not in refused and data != base[path]}

    async def close(self) -> None:
        self.closed = True
        if self._real is not None:
            await self._real.close()


def _error(number: int, path: str) -> OSError:
    """OSError picks the subclass by itself."""
    return OSError(number, os.strerror(number), path)
