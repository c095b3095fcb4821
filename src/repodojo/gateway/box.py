"""Commands that an agent on the host runs in its session's box: the box has no network, and needs none."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from repodojo.agent.tools.bash import NOTES, RUNNER
from repodojo.core.records import Task, ToolCall, ToolResult
from repodojo.gateway.asks import GatewayError
from repodojo.gateway.dialects.base import Strict
from repodojo.gateway.session import Session

KEPT_OUTPUT = 4000  # characters of an output that the record keeps
MOST_SECONDS = 3600.0


class Command(Strict):
    """A bash command. cwd: in the box, relative to the repository's root;  seconds: None takes the box's limit."""

    command: str = Field(min_length=1)
    cwd: str = "."
    seconds: float | None = Field(None, gt=0, le=MOST_SECONDS)
    variables: dict[str, str] = Field(default_factory=dict)
    stdin: str = ""


async def execute(session: Session, given: Command) -> dict[str, Any]:
    """Run it and record that it ran. The task's own tests run in a warm interpreter, like the built-in agent's.

    An agent cannot go beyond the limits of its box: `seconds` only lowers them.
    """
    if session.box is None:
        raise GatewayError("not_found", "this session has no box")
    if "\0" in given.command + given.cwd + "".join((*given.variables, *given.variables.values())):
        raise GatewayError("invalid", "a command cannot hold NUL", param="command")
    task = session.task
    visible = task is not None and given.command.strip() == task.visible_command != ""
    argv: tuple[str, ...] = ("bash", "-c", given.command)
    if visible and task and task.visible_tests:
        argv = (*RUNNER, *task.visible_tests)
    seconds = None if given.seconds is None else min(given.seconds, session.box_seconds)
    done = await session.box.exec(
        argv, cwd=given.cwd, env=given.variables, stdin=given.stdin.encode(), seconds=seconds, warm=visible
    )
    text = done.output.decode("utf-8", "replace")
    error = done.ended if done.ended in NOTES else ""
    result = ToolResult(text[:KEPT_OUTPUT], error, done.seconds, tests_run=visible or _ends_with_tests(given, task))
    session.ran(ToolCall("bash", {"command": given.command}), result)
    code = done.exit_code if done.exit_code is not None else 124 if done.ended == "timeout" else 137
    return {"output": text, "exit_code": code, "ended": done.ended, "note": NOTES.get(done.ended, "")}


def _ends_with_tests(given: Command, task: Task | None) -> bool:
    """Whether the visible tests run last in the command: `sed ... && repro`."""
    shown = task.visible_command if task is not None else ""
    return bool(shown) and given.command.rstrip().endswith((f"&& {shown}", f"; {shown}"))
