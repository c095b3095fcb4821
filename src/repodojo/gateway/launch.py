"""Starting an agent's command: a new process, or a fork of a Python that has loaded its modules already."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repodojo.core.errors import OutageError
from repodojo.gateway import boxclient, warmed
from repodojo.gateway.command import AgentCommand

KEPT_TAIL = 4000  # bytes of what the command printed, for the message where it failed
_ENDED = re.compile(re.escape(warmed.END) + rb"(-?\d+)\n\Z")
# The container is there already and goes by itself: nothing of that is worth an interpreter.
_CONTAINER = """case "$1" in
run) echo box; exit 0;;
stop|rm|kill|pull|version|info) exit 0;;
esac
"""
_LOADING = 120.0  # seconds that modules may take to load


@dataclass(frozen=True)
class Launcher:
    """Runs one command again and again. tools: the folder of `box` and its like;  socket: of the loaded Python."""

    command: AgentCommand
    tools: Path
    socket: str = ""

    async def run(
        self, words: Sequence[str], variables: Mapping[str, str], folder: Path, seconds: float
    ) -> tuple[int | None, str]:
        """Exit code (None: stopped for its time) and the end of what it printed. OutageError where it cannot start."""
        found = self._fork if self.socket else _start
        return await found(words, variables, folder, seconds)

    async def _fork(
        self, words: Sequence[str], variables: Mapping[str, str], folder: Path, seconds: float
    ) -> tuple[int | None, str]:
        order = {"words": list(words), "variables": dict(variables), "folder": str(folder)}
        async with contextlib.AsyncExitStack() as opened:
            try:
                reader, writer = await asyncio.open_unix_connection(self.socket)
                opened.callback(writer.close)
                writer.write(json.dumps(order).encode() + b"\n")
                process = int(await reader.readline())
            except (OSError, ValueError) as error:
                raise OutageError(f"the loaded agent does not answer: {error!r}") from None
            kept, code = bytearray(), None
            try:
                async with asyncio.timeout(seconds):
                    code = await _ended(reader, kept)
            except TimeoutError:
                pass  # None says so
            finally:
                # Who told how it ended has ended its group: the number may be another's by now.
                if code in (None, -signal.SIGKILL):
                    _kill(process)
            return code, kept.decode("utf-8", "replace")


async def _ended(reader: asyncio.StreamReader, kept: bytearray) -> int:
    """The code in the last line of what comes."""
    while part := await reader.read(65536):
        kept += part
        if found := _ENDED.search(kept):
            code = int(found[1])  # before the match's own bytes go
            del kept[found.start() :]
            return code
        del kept[:-KEPT_TAIL]
    return -signal.SIGKILL  # it took the process that waits for it along


async def _start(
    words: Sequence[str], variables: Mapping[str, str], folder: Path, seconds: float
) -> tuple[int | None, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=folder,
            env=dict(variables),
            start_new_session=True,
        )
    except OSError as error:
        raise OutageError(f"the agent could not be started: {words[0]}: {error.strerror}") from None
    assert process.stdout is not None
    kept, code = bytearray(), None
    tail = asyncio.ensure_future(_tail(process.stdout, kept))
    try:
        async with asyncio.timeout(seconds):
            code = await process.wait()
    except TimeoutError:
        pass  # None says so
    finally:
        _kill(process.pid)
        await process.wait()
        await asyncio.wait({tail}, timeout=1)  # what left the group may hold the pipe open
        tail.cancel()
    return code, kept.decode("utf-8", "replace")


def _kill(group: int) -> None:
    """Whatever it left running goes with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


async def _tail(stream: asyncio.StreamReader, kept: bytearray) -> None:
    while part := await stream.read(65536):
        kept += part
        del kept[:-KEPT_TAIL]


@contextlib.asynccontextmanager
async def launching(command: AgentCommand, preload: Sequence[str] = ()) -> AsyncIterator[Launcher]:
    """A launcher until the block ends. With `preload`, a Python of the command's loads those modules first.

    OutageError where it cannot load them.
    """
    with tempfile.TemporaryDirectory(prefix="repodojo-launch-", ignore_cleanup_errors=True) as name:
        tools = _tools(Path(name) / "bin")
        if not preload:
            yield Launcher(command, tools)
            return
        interpreter, _ = command.python()
        path = str(Path(name) / "socket")
        process = await asyncio.create_subprocess_exec(
            *(interpreter, warmed.__file__, path, *preload),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=name,
            env={**os.environ, **helpers(tools), **command.variables, "HOME": name},
        )
        try:
            async with asyncio.timeout(_LOADING):
                await _loaded(process)
            yield Launcher(command, tools, path)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _loaded(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    said: list[str] = []
    while line := await process.stdout.readline():
        if line == b"ready\n":
            return
        said.append(line.decode("utf-8", "replace").rstrip())
    raise OutageError(f"agent.preload: {' | '.join(said[-3:])}")


def _tools(folder: Path) -> Path:
    """`box`, and the stand-in for docker, as programs."""
    folder.mkdir()
    call = f'exec "{sys.executable}" -I -S "{boxclient.__file__}"'
    for name, before, kind in (("box", "", "box"), ("box-docker", _CONTAINER, "docker")):
        (folder / name).write_text(f'#!/bin/sh\n{before}{call} {kind} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def helpers(tools: Path) -> dict[str, str]:
    """The variables that lead to the tools; they are the same in every episode."""
    return {
        "PATH": f"{tools}:{os.environ.get('PATH', os.defpath)}",
        "MSWEA_DOCKER_EXECUTABLE": str(tools / "box-docker"),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
