"""Any command as the agent: it runs on the host with a base URL and a key, and its tools run in the box.

The box has no network, so the agent itself stays outside, and what it may do to the repository goes through `box` (see
`gateway.boxclient`), which the gateway carries out in the session's box. Nothing of the agent is believed: what counts
is the difference of the box, and the tokens that the gateway recorded.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repodojo.agent.loop import AgentLimits, Played
from repodojo.core.errors import EngineError, OutageError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import StopReason, Task
from repodojo.gateway.export import labels
from repodojo.gateway.launch import Launcher, helpers
from repodojo.gateway.registry import Gateway
from repodojo.gateway.session import Session, Terms

STOPS: Mapping[str, StopReason] = {"turns": "turns", "context": "context"}
FAREWELL = 3.0
"""Seconds that a command has to end by itself once its calls are used up: some clients ask again and again for minutes,
however they are refused."""
Ended = tuple[int | None, str]


@dataclass(frozen=True)
class Harness:
    """A gateway, where it listens, and what starts the agent. box_seconds: most that one tool call may take."""

    gateway: Gateway
    url: str
    launcher: Launcher
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
                running = self.run(task, key, Path(folder), limits.max_seconds)
                code, tail = await _until_spent(running, session)
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

    async def run(self, task: Task, key: str, folder: Path, seconds: float) -> Ended:
        """The command's exit code (None: stopped for its time) and the end of what it printed."""
        text = "\n".join(part.rstrip() for part in (task.instruction, task.interface) if part) + "\n"
        (folder / "task.md").write_text(text)
        words = self.launcher.command.words if not self.launcher.socket else self.launcher.command.python()[1]
        words = tuple(w.replace("{task_file}", str(folder / "task.md")).replace("{task}", text) for w in words)
        given = {**variables(self.url, key, folder), **helpers(self.launcher.tools), **self.launcher.command.variables}
        return await self.launcher.run(words, given, folder, seconds)

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


async def _until_spent(command: Coroutine[Any, Any, Ended], session: Session) -> Ended:
    """How the command ended, or (None, ""): stopped because it went on after its last call."""
    running, spent = asyncio.ensure_future(command), asyncio.ensure_future(session.spent.wait())
    try:
        await asyncio.wait({running, spent}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await asyncio.wait({running}, timeout=FAREWELL)
        return running.result() if running.done() else (None, "")
    finally:
        running.cancel()
        spent.cancel()
        await asyncio.gather(running, spent, return_exceptions=True)


def _reason(session: Session, code: int | None) -> StopReason:
    if code is None and not session.spent.is_set():
        return "time"
    if session.limit:
        return STOPS[session.limit]
    return "exit" if code else "submit"


def variables(url: str, key: str, folder: Path) -> dict[str, str]:
    """The environment of the command: that of this process, with a home of its own and the gateway for every client."""
    here = {
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
    }
    return {**os.environ, **here}
