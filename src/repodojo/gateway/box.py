"""Commands that an agent on the host runs in its session's box: the box has no network, and needs none."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

from pydantic import Field

from repodojo.agent.tools.bash import NOTES, RUNNER
from repodojo.core.protocols import ExecResult
from repodojo.core.records import Task, ToolCall, ToolResult
from repodojo.gateway.asks import GatewayError
from repodojo.gateway.dialects.base import Strict
from repodojo.gateway.session import Session

KEPT_OUTPUT = 4000  # characters of an output that the record keeps
MOST_SECONDS = 3600.0
_SIMPLE = re.compile(r"\s*([\w./:,+@%-]+)(?:[ \t]+(?:[\w./:,+@%=-]|'[^']*')+)*\s*")
"""A name and words without anything that a shell would read, single quotes apart."""
_BUILTINS = (
    ". alias bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown enable eval "
    "exec exit export fc fg getopts hash history jobs kill let local logout mapfile popd pushd read readarray readonly "
    "return set shift shopt source suspend times trap type typeset ulimit umask unalias unset wait"
)
"""What may change the shell that it runs in."""


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
    done, visible = await _run(session, given)
    text = done.output.decode("utf-8", "replace")
    error = done.ended if done.ended in NOTES else ""
    result = ToolResult(
        text[:KEPT_OUTPUT], error, done.seconds, tests_run=visible or _ends_with_tests(given, session.task)
    )
    session.ran(ToolCall("bash", {"command": given.command}), result)
    code = done.exit_code if done.exit_code is not None else 124 if done.ended == "timeout" else 137
    return {"output": text, "exit_code": code, "ended": done.ended, "note": NOTES.get(done.ended, "")}


async def _run(session: Session, given: Command) -> tuple[ExecResult, bool]:
    """How it went, and whether it was the visible tests alone. Those run warm behind a simple command, too."""
    assert session.box is not None
    task = session.task
    argv: tuple[str, ...] = ("bash", "-c", given.command)
    before, tests = _split(given.command, task.visible_command if task is not None else "")
    warm = argv if not (tests and task and task.visible_tests) else (*RUNNER, *task.visible_tests)
    seconds = None if given.seconds is None else min(given.seconds, session.box_seconds)
    how: dict[str, Any] = {"cwd": given.cwd, "env": given.variables, "stdin": given.stdin.encode()}
    if tests and not before:
        return await session.box.exec(warm, seconds=seconds, warm=True, **how), True
    if not tests or warm is argv:
        return await session.box.exec(argv, seconds=seconds, **how), False
    began = time.monotonic()
    first = await session.box.exec(("bash", "-c", before), seconds=seconds, **how)
    if first.ended != "exit" or first.exit_code:
        return first, False
    left = None if seconds is None else max(seconds - (time.monotonic() - began), 0.01)
    second = await session.box.exec(warm, seconds=left, warm=True, **{**how, "stdin": b""})
    return replace(second, output=first.output + second.output, seconds=first.seconds + second.seconds), False


def _split(command: str, visible: str) -> tuple[str, bool]:
    """What comes before the visible tests, and whether those come last: where nothing before them can change the shell.

    >>> _split("sed -i 's/a b/c/' x.py && repro", "repro"), _split("repro", "repro")
    (("sed -i 's/a b/c/' x.py", True), ('', True))
    >>> _split("cd src && repro", "repro"), _split("f x; y && repro", "repro")
    (('cd src && repro', False), ('f x; y && repro', False))
    """
    if not visible or command.strip() == visible:
        return "", bool(visible)
    before, joined, last = command.rpartition("&&")
    simple = _SIMPLE.fullmatch(before) if joined and last.strip() == visible else None
    if simple is None or simple[1] in _BUILTINS.split():
        return command, False
    return before.strip(), True


def _ends_with_tests(given: Command, task: Task | None) -> bool:
    """Whether the visible tests run last in the command: `sed ... && repro`."""
    shown = task.visible_command if task is not None else ""
    return bool(shown) and given.command.rstrip().endswith((f"&& {shown}", f"; {shown}"))
