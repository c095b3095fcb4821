"""The fallback without isolation: a copied tree, plain processes, resource limits. Never trained with unasked.

A command can read and write the host and reach the network. The work dir of the environment stands for the copy: it
is replaced in arguments and variables, and put back in output, so that the same commands work as in a real box.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from repodojo.core.errors import SandboxError
from repodojo.core.protocols import ExecResult, Limits
from repodojo.sandbox import bytecode, difference, outcome, safefiles
from repodojo.sandbox.environments import BoxSpec
from repodojo.sandbox.local import machine
from repodojo.sandbox.pump import Pipe

# ulimit -f counts 512 bytes in a POSIX sh, 1 KiB in bash: the looser reading is still a bound
_LIMITED = 'ulimit -c 0; ulimit -f "$1" 2>/dev/null; ulimit -d "$2" 2>/dev/null; shift 2; exec "$@"'


class PlainSandbox:
    """Making one copies the tree (milliseconds to seconds); `closed` boxes leave nothing on disk."""

    def __init__(self, spec: BoxSpec, limits: Limits) -> None:
        self._spec = spec
        self._limits = limits
        self._lock = asyncio.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="repodojo-plain-")
        root = Path(self._folder.name).resolve()
        self._work, self._temporary, self._bin = root / "work", root / "tmp", root / "env" / "bin"
        self._python_path = [str(Path(__file__).parent / "guest"), str(root / "kit")]
        self.refused: tuple[str, ...] = ()
        try:
            self._fill(root)
        except OSError as error:
            self._folder.cleanup()
            raise SandboxError(f"the tree could not be copied: {error}") from None

    def _fill(self, root: Path) -> None:
        machine.adopt(self._spec.tree.resolve(), self._work, os.geteuid())
        for path, data in self._spec.overlay.items():
            (self._work / path).write_bytes(data)
            bytecode.mask(str(self._work), path)
        for folder in (self._temporary, self._bin, root / "kit"):
            folder.mkdir(parents=True)
        python = machine.interpreter()
        home = os.path.dirname(python)
        (self._bin.parent / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
        for name in ("python", "python3"):
            (self._bin / name).symlink_to(python)
        for name, text in self._spec.scripts.items():
            (self._bin / name).write_text(self._here(text))
            (self._bin / name).chmod(0o755)
        for name, path in machine.kit():
            (root / "kit" / name).symlink_to(path)
        if self._spec.site:
            self._python_path.insert(0, str(self._spec.site.resolve()))

    def _here(self, text: str) -> str:
        return text.replace(self._spec.work_dir, str(self._work))

    def _there(self, data: bytes) -> bytes:
        return data.replace(os.fsencode(self._work), self._spec.work_dir.encode())

    @property
    def closed(self) -> bool:
        """Whether the box has been given back."""
        return not self._work.exists()

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
        """`warm` is served by a cold interpreter here."""
        if refused := outcome.unspeakable(argv):
            return refused
        search = f"{self._bin}:/usr/local/bin:/usr/bin:/bin"
        given = outcome.variables(search, ":".join(self._python_path), self._spec.variables, env or {})
        given = {name: self._here(value) for name, value in given.items()} | {"HOME": str(self._temporary)}
        given["TMPDIR"] = given.get("TMPDIR", str(self._temporary))
        folder = self._place(cwd or ".")
        words = [self._here(word) for word in argv]
        limit = self._limits.seconds if seconds is None else seconds
        async with self._lock:
            if self.closed:
                raise SandboxError("this box has been closed")
            return await self._run(words, os.path.join(folder[0], *folder[1]), given, stdin, limit)

    async def _run(
        self, words: list[str], folder: str, env: dict[str, str], stdin: bytes, seconds: float
    ) -> ExecResult:
        began, reasons, groups = time.monotonic(), [""], [0]

        def end(reason: str) -> None:
            reasons.append(reason)
            _kill_group(groups[0])

        output = Pipe(self._limits.output_bytes, lambda: end("output"))
        report = Pipe(outcome.REPORT_CAP, lambda: end("output"))
        source = tempfile.TemporaryFile()  # noqa: SIM115  # closed below, whatever happens
        try:
            source.write(stdin)
            source.seek(0)
            disk, memory = self._limits.disk_mb * 2048, self._limits.memory_mb * 1024
            process = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", _LIMITED, "sh", str(disk), str(memory), *words),
                stdin=source,
                stdout=output.writer,
                stderr=output.writer,
                cwd=folder,
                env={**env, "REPODOJO_REPORT_FD": str(report.writer)},
                pass_fds=(report.writer,),
                start_new_session=True,
            )
        except OSError as error:
            for pipe in (output, report):
                pipe.given()
                pipe.finish()
            return outcome.result(126, "", f"{words[0]}: {error.strerror}\n".encode(), b"", 0.0)
        finally:
            source.close()
        output.given()
        report.given()
        groups[0] = process.pid
        try:
            try:
                async with asyncio.timeout(seconds):  # not wait_for, which can lose a cancellation
                    code = await process.wait()
            except TimeoutError:
                end("timeout")
                code = await process.wait()
        finally:
            _kill_group(process.pid)
            texts = self._there(output.finish()), self._there(report.finish())
        reason = (reasons[1:] or ["output" if output.full else ""])[0]
        return outcome.result(code, reason, *texts, time.monotonic() - began)

    def _place(self, path: str) -> tuple[str, tuple[str, ...]]:
        """(folder on the host, components below it) for a path of the box."""
        parts = safefiles.parts_of(path, self._spec.work_dir)
        for mark, folder in ((safefiles.parts_of(".", self._spec.work_dir), self._work), (("tmp",), self._temporary)):
            if parts[: len(mark)] == mark:
                return str(folder), parts[len(mark) :]
        raise FileNotFoundError(errno.ENOENT, "not in this box", path)

    async def read(self, path: str) -> bytes:
        folder, parts = self._place(path)
        with safefiles.rooted(folder) as root:
            return safefiles.read_file(root, parts, difference.FILE_CAP)

    async def write(self, path: str, data: bytes | None) -> None:
        folder, parts = self._place(path)
        with safefiles.rooted(folder) as root:
            if data is None:
                safefiles.delete_file(root, parts)
            else:
                safefiles.write_file(root, parts, data)

    async def listdir(self, path: str = ".") -> list[str]:
        folder, parts = self._place(path)
        with safefiles.rooted(folder) as root:
            return safefiles.list_folder(root, parts)

    async def changes(self) -> Mapping[str, bytes | None]:
        changes, refused = await asyncio.to_thread(difference.from_copy, self._spec, self._work)
        self.refused = refused
        return changes

    async def close(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self._folder.name, True)
        self._folder.cleanup()


def _kill_group(group: int) -> None:
    if group:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
