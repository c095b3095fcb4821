"""The calls of one turn: those that only look run at the same time, the others in order; results keep their order.

A box serves one command at a time, so the commands of calls that run together become one: a script that starts them
all and hands back each one's output and exit status. Where that one meets a limit of the box, they are run one by one
instead: they only look, so nothing is done twice.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from repodojo.agent.reads import only_looks
from repodojo.agent.tools.base import OwnSchema, Tool, ToolContext
from repodojo.agent.tools.toolset import Toolset
from repodojo.core.protocols import ExecResult, Sandbox
from repodojo.core.records import ToolCall, ToolResult

Ready = tuple[ToolCall, Tool | OwnSchema, Any]
"""A call with its tool and its checked arguments."""


async def run_calls(ready: Sequence[Ready], tools: Toolset, context: ToolContext, most: int) -> list[ToolResult]:
    """Results in the order of the calls, up to the one that submits; `most` run at the same time (1: all in order).

    ToolResult.started is in seconds since the first call of the turn.
    """
    start = time.perf_counter()
    results: list[ToolResult] = []
    for wave in waves(ready, context.task.visible_command, most):
        if len(wave) == 1:
            begun = time.perf_counter() - start
            result = await tools.run(wave[0][1], wave[0][2], context)
            results.append(replace(result, started=begun))
        else:
            results += await _together(wave, tools, context, start)
        if context.submitted:
            break
    return results


def waves(ready: Sequence[Ready], visible_command: str, most: int) -> list[list[Ready]]:
    """Neighbours that only look, at most `most` of them; every other call alone."""
    found: list[list[Ready]] = []
    open_ = False
    for item in ready:
        looks = only_looks(item[0].name, item[0].arguments, visible_command)
        if looks and open_ and len(found[-1]) < most:
            found[-1].append(item)
        else:
            found.append([item])
        open_ = looks
    return found


async def _together(wave: Sequence[Ready], tools: Toolset, context: ToolContext, start: float) -> list[ToolResult]:
    gathered = Gathered(context.sandbox, len(wave))
    own = [replace(context, sandbox=gathered) for _ in wave]

    async def one(item: Ready, its: ToolContext) -> ToolResult:
        begun = time.perf_counter() - start
        try:
            return replace(await tools.execute(item[1], item[2], its), started=begun)
        finally:
            gathered.done()

    tasks = [asyncio.create_task(one(item, its)) for item, its in zip(wave, own, strict=True)]
    try:
        results = await asyncio.gather(*tasks)
    finally:  # an outage of one ends all
        await gathered.stop(tasks)
    before = context.view
    for its in own:  # as if they had run in order: what was shown last counts
        context.untracked = context.untracked or its.untracked
        context.view = its.view if its.view is not before else context.view
    return [tools.shown(item[1], result, context) for item, result in zip(wave, results, strict=True)]


@dataclass(frozen=True)
class _Asked:
    argv: tuple[str, ...]
    cwd: str | None
    env: Mapping[str, str] | None
    seconds: float | None


@dataclass
class _Batch:
    """Commands that will run together, and the task that runs them once `begun` is set."""

    asked: list[_Asked] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[list[ExecResult]] | None = None


class Gathered:
    """A sandbox for `callers` tasks: once all of them wait for a command or are done, the commands run as one."""

    def __init__(self, box: Sandbox, callers: int) -> None:
        self._box, self._active = box, callers
        self._batch = _Batch()
        self._running: list[asyncio.Task[list[ExecResult]]] = []

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
        if stdin or warm:
            return await self._box.exec(argv, cwd=cwd, env=env, stdin=stdin, seconds=seconds, warm=warm)
        batch, number = self._batch, len(self._batch.asked)
        batch.asked.append(_Asked(tuple(argv), cwd, env, seconds))
        self._look()
        await batch.begun.wait()
        assert batch.task is not None
        return (await asyncio.shield(batch.task))[number]

    def done(self) -> None:
        """One of the tasks is over."""
        self._active -= 1
        self._look()

    def _look(self) -> None:
        if self._batch.asked and len(self._batch.asked) >= self._active:
            batch, self._batch = self._batch, _Batch()
            batch.task = asyncio.create_task(self._run(batch.asked))
            self._running.append(batch.task)
            batch.begun.set()

    async def _run(self, asked: Sequence[_Asked]) -> list[ExecResult]:
        alike = len({(a.cwd, tuple(sorted((a.env or {}).items())), a.seconds) for a in asked}) == 1
        found = await exec_together(self._box, asked) if alike and len(asked) > 1 else None
        return found or [await self._box.exec(a.argv, cwd=a.cwd, env=a.env, seconds=a.seconds) for a in asked]

    async def stop(self, callers: Sequence[asyncio.Task[Any]]) -> None:
        """Leave nothing running: after an outage, or where the episode was cancelled."""
        left = [task for task in (*callers, *self._running) if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def read(self, path: str) -> bytes:
        return await self._box.read(path)

    async def write(self, path: str, data: bytes | None) -> None:
        await self._box.write(path, data)

    async def listdir(self, path: str = ".") -> list[str]:
        return await self._box.listdir(path)

    async def changes(self) -> Mapping[str, bytes | None]:
        return await self._box.changes()

    async def close(self) -> None:
        """The box is not this one's to close."""


async def exec_together(box: Sandbox, asked: Sequence[_Asked]) -> list[ExecResult] | None:
    """Run commands at the same time as one of the box's; None where it met a limit or cannot be read."""
    result = await box.exec(
        ("bash", "-c", script([a.argv for a in asked])), cwd=asked[0].cwd, env=asked[0].env, seconds=asked[0].seconds
    )
    if result.ended != "exit" or result.exit_code:
        return None
    found: list[ExecResult] = []
    rest = result.output
    for _ in asked:
        head, _, rest = rest.partition(b"\n")
        numbers = head.split()
        if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
            return None
        size = int(numbers[1])
        if len(rest) < size:
            return None
        found.append(ExecResult(int(numbers[0]), rest[:size], seconds=result.seconds))
        rest = rest[size:]
    return found


def script(commands: Sequence[Sequence[str]]) -> str:
    """Bash that runs commands at the same time, then prints for each "STATUS SIZE" and what it printed."""
    lines = ["d=/tmp/.together.$$; mkdir $d || exit 1"]
    for number, argv in enumerate(commands):
        lines.append(f"({shlex.join(argv)} >$d/{number} 2>&1 </dev/null; echo $? >$d/{number}.status) &")
    lines.append("wait")
    for number in range(len(commands)):
        lines.append(f'echo "$(<$d/{number}.status) $(stat -c %s $d/{number})"; cat $d/{number}')
    return "\n".join([*lines, "rm -r $d"])
