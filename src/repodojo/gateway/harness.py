"""Any command as the agent: it runs on the host with a base URL and a key, and its tools run in the box.

The box has no network, so the agent itself stays outside, and what it may do to the repository goes through `box` (see
`gateway.boxclient`), which the gateway carries out in the session's box. Nothing of the agent is believed: what counts
is the difference of the box, and the tokens that the gateway recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from repodojo.agent.loop import AgentLimits, Played
from repodojo.core.errors import ConfigError, EngineError, OutageError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import StopReason, Task
from repodojo.gateway import boxclient
from repodojo.gateway.export import labels
from repodojo.gateway.registry import Gateway
from repodojo.gateway.session import Session, Terms

KEPT_TAIL = 4000  # bytes of what the command printed, for the message where it failed
STOPS: Mapping[str, StopReason] = {"turns": "turns", "context": "context"}


@dataclass(frozen=True)
class Harness:
    """A gateway, where it listens, and the command that is the agent. box_seconds: most that one tool call may take."""

    gateway: Gateway
    url: str
    command: str
    box_seconds: float = 60.0

    async def play(self, task: Task, box: Sandbox, limits: AgentLimits, *, temperature: float, seed: int) -> Played:
        """One episode. OutageError where the command never asked the model anything, or the engine failed it."""
        terms = Terms(
            limits.max_context,
            training=True,
            temperature=temperature,
            seed=seed,
            max_turns=limits.max_turns,
            max_tokens=limits.max_tokens,
        )
        session, key = self.gateway.open(terms=terms)
        session.box, session.task, session.box_seconds = box, task, self.box_seconds
        start = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="repodojo-agent-", ignore_cleanup_errors=True) as folder:
                code, tail = await self.run(task, key, Path(folder), limits.max_seconds)
            self._refuse_outage(session, code, tail)
            paths = session.tree.paths()
            return Played(
                turns=list(paths[0]),
                stop_reason=_reason(session, code),
                changes=dict(await box.changes()),
                seconds=time.monotonic() - start,
                branches=paths[1:],
                labels=labels(session),
            )
        finally:
            self.gateway.close(session.id)

    async def run(self, task: Task, key: str, folder: Path, seconds: float) -> tuple[int | None, str]:
        """The command's exit code (None: stopped for its time) and the end of what it printed."""
        text = "\n".join(part.rstrip() for part in (task.instruction, task.interface) if part) + "\n"
        (folder / "task.md").write_text(text)
        words = [w.replace("{task_file}", str(folder / "task.md")).replace("{task}", text) for w in split(self.command)]
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=folder,
                env=variables(self.url, key, folder),
                start_new_session=True,
            )
        except OSError as error:
            raise OutageError(f"the agent could not be started: {words[0]}: {error.strerror}") from None
        assert process.stdout is not None
        kept = bytearray()
        tail = asyncio.ensure_future(_tail(process.stdout, kept))
        try:
            code: int | None = await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):  # whatever it left running goes with it
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            await asyncio.wait({tail}, timeout=1)  # what left the group may hold the pipe open
            tail.cancel()
        return code, kept.decode("utf-8", "replace")

    def _refuse_outage(self, session: Session, code: int | None, tail: str) -> None:
        if self.gateway.failure is not None:
            raise EngineError(f"the gateway failed: {self.gateway.failure!r}")
        if session.outage is not None:
            raise session.outage
        if not session.tree.nodes:
            if session.limit == "context":
                raise OutageError("the agent's first prompt is longer than agent.max_context")
            ended = "had to be stopped" if code is None else f"ended with exit code {code}"
            raise OutageError(f"the agent never asked the model anything and {ended}: {tail.strip()[-500:]}")


def _reason(session: Session, code: int | None) -> StopReason:
    if code is None:
        return "time"
    if session.limit:
        return STOPS[session.limit]
    return "exit" if code else "submit"


async def _tail(stream: asyncio.StreamReader, kept: bytearray) -> None:
    while part := await stream.read(65536):
        kept += part
        del kept[:-KEPT_TAIL]


def split(command: str) -> list[str]:
    """The words of a command; those that name a file here are made absolute, since it runs elsewhere.

    ConfigError where it is not a command line, or its program is not there.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(
            f"agent.command cannot be read: {error}", way_out="quote it as a shell would have it"
        ) from None
    if not words or not (Path(words[0]).is_file() or shutil.which(words[0])):
        cause = f"agent.command: there is no program {words[0] if words else ''!r}"
        raise ConfigError(cause, way_out="install it, or give its path")
    return [str(Path(word).absolute()) if Path(word).is_file() else word for word in words]


def variables(url: str, key: str, folder: Path) -> dict[str, str]:
    """The environment of the command: that of this process, with a home of its own and the gateway for every client."""
    tools = folder / ".bin"
    tools.mkdir()
    call = f'exec "{sys.executable}" -I -S "{boxclient.__file__}"'
    for name, kind in (("box", "box"), ("box-docker", "docker")):
        (tools / name).write_text(f'#!/bin/sh\n{call} {kind} "$@"\n')
        (tools / name).chmod(0o755)
    here = {
        "PATH": f"{tools}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": key,
        "REPODOJO_BASE_URL": url,
        "REPODOJO_BOX_URL": f"{url}/box/exec",
        "REPODOJO_KEY": key,
        "REPODOJO_TASK_FILE": str(folder / "task.md"),
        "MSWEA_DOCKER_EXECUTABLE": str(tools / "box-docker"),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    return {**os.environ, **here}
