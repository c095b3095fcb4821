"""Calls of one turn: what looks runs together, what writes keeps its order, and results stay where they were."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.agent.kit import Kit, toolset
from repodojo.agent.reads import looking_command, only_looks
from repodojo.agent.together import exec_together, run_calls, script, waves
from repodojo.agent.tools import ToolContext, Toolset, default_tools
from repodojo.core.errors import SandboxError
from repodojo.core.protocols import ExecResult
from repodojo.core.records import Environment, Grader, Source, Task, ToolCall, ToolResult
from repodojo.inference.toolcalls import RawCall
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.fake import FakeSandbox
from repodojo.tasks.store import TaskStore

TASK = Task("t", Source("d"), "i", Environment(), Grader(), visible_command="repro")
LOOKS = (
    "ls",
    "cat a.py | head -3",
    "grep -rn 'a b' . && wc -l x",
    "git log --oneline",
    "find . -name '*.py'",
    "sed -n 1,5p a.py",
)
WRITES = (
    *(
        "rm a",
        "cat a > b",
        "ls; rm x",
        "echo $(rm x)",
        "echo `rm x`",
        "find . -delete",
        "git grep -Oless x",
        "git log --ext-diff -p",
        "find . -exec rm {} +",
        "sed -i s/a/b/ x",
    ),
    *(
        "sed -n 'w out' x",
        "git checkout x",
        "git diff --output=x",
        "git diff --outp x",
        "python a.py",
        "cat a &",
        "ls\nrm x",
        "tee x",
        "",
        "| cat",
        "(ls)",
    ),
    *("sort -o x y", "VAR=1 ls", "rg --pre rm x", "sed -n 1p -i x", "git -c core.pager=rm log", "cat <(rm x)"),
)


@pytest.mark.parametrize("command", LOOKS)
def test_commands_that_only_look(command: str) -> None:
    assert looking_command(command)


@pytest.mark.parametrize("command", WRITES)
def test_whatever_may_change_something_does_not_count_as_looking(command: str) -> None:
    assert not looking_command(command)


def test_the_visible_tests_are_no_look() -> None:
    assert only_looks("bash", {"command": "ls"}, "pytest") and not only_looks("bash", {"command": "ls"}, "ls")
    assert not only_looks("submit", {}) and not only_looks("remember", {"note": "x"}) and only_looks("outline", {})


def ready(tools: Toolset, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    return [(ToolCall(n, a), *tools.check(RawCall(n, a))) for n, a in calls]


def test_waves_keep_the_order_and_never_pass_a_write() -> None:
    tools = default_tools()
    edit = ("editor", {"command": "undo"})
    look = ("search", {"query": "x"})
    found = waves(ready(tools, look, look, edit, look, look, look, edit, edit), "repro", 2)
    assert [len(wave) for wave in found] == [2, 1, 2, 1, 1, 1]
    assert [item[0].name for wave in found for item in wave] == [
        *("search", "search", "editor", "search", "search", "search", "editor", "editor")
    ]
    assert all(len(wave) == 1 for wave in waves(ready(tools, look, look), "repro", 1))


class Shell(FakeSandbox):
    """Runs commands for real (in the current folder), one at a time, and counts them."""

    async def exec(self, argv: Sequence[str], **_: Any) -> ExecResult:
        self.commands.append(tuple(argv))
        done = await asyncio.to_thread(subprocess.run, list(argv), capture_output=True, check=False)
        return ExecResult(done.returncode, done.stdout)


async def run(box: FakeSandbox, most: int, *calls: tuple[str, dict[str, Any]]) -> tuple[list[ToolResult], ToolContext]:
    tools, context = default_tools(), ToolContext(TASK, box)
    return await run_calls(ready(tools, *calls), tools, context, most), context


def bash(command: str) -> tuple[str, dict[str, Any]]:
    return "bash", {"command": command}


MANY = [bash("echo one"), bash("cat /no/such/file"), bash("printf 'a\\\\nb'"), bash("false"), bash("echo last")]


async def test_together_gives_what_one_by_one_gives_in_one_command() -> None:
    apart, _ = await run(Shell({}), 1, *MANY)
    box = Shell({})
    together, context = await run(box, 8, *MANY[:2], *MANY[3:])
    assert [(r.output, r.error) for r in together if "cat" not in r.output] == [
        (r.output, r.error) for i, r in enumerate(apart) if i not in (1, 2)
    ]
    assert len(box.commands) == 1 and context.untracked
    assert "No such file" in together[1].output and "[exit code 1]" in together[1].output


async def test_the_trace_shows_the_overlap() -> None:
    edit = ("editor", {"command": "create", "path": "n.py", "file_text": "x"})
    results, _ = await run(Shell({}), 8, bash("ls /"), bash("ls /"), edit, bash("ls /"))
    spans = [(r.started, r.started + r.seconds) for r in results]
    assert spans[1][0] < spans[0][1]
    assert spans[2][0] >= max(spans[0][1], spans[1][1]) - 1e-3 and spans[3][0] >= spans[2][1] - 1e-3


async def test_the_view_is_the_last_one_shown() -> None:
    box = FakeSandbox({"a.py": b"1\n2\n", "b.py": b"3\n4\n"})
    views = [("editor", {"command": "view", "path": path, "view_range": [1, 1]}) for path in ("a.py", "b.py")]
    _, context = await run(box, 4, *views, ("search", {"query": "x"}))
    assert context.view.path == "b.py" and context.view.ranges == ((1, 1),)


def test_a_view_of_the_last_file_waits_for_it() -> None:
    named = ("editor", {"command": "view", "path": "a.py"})
    same = ("editor", {"command": "view", "view_range": [1, 2]})
    assert [len(w) for w in waves(ready(default_tools(), named, same, named, named), "", 8)] == [1, 1, 2]


async def test_kept_outputs_are_numbered_in_the_order_of_the_calls() -> None:
    tools = toolset(Kit(observation_chars=90, keep_rest=True))
    big = FakeSandbox({"x": b"line\n" * 400}, lambda argv, files: ExecResult(0, argv[-1].encode() * 500))
    context = ToolContext(TASK, big)
    calls = [("search", {"query": "q"}), ("editor", {"command": "view", "path": "x"}), ("search", {"query": "r"})]
    results = await run_calls(ready(tools, *calls), tools, context, 8)
    assert [f"output {number} " in result.output for number, result in enumerate(results, 1)] == [True] * 3


async def test_a_limit_of_the_box_falls_back_to_one_by_one() -> None:
    def limited(argv: Sequence[str], _files: Any) -> ExecResult:
        return ExecResult(None, b"", "output") if ".together" in argv[-1] else ExecResult(0, argv[-1].encode())

    box = FakeSandbox({}, limited)
    results, _ = await run(box, 4, bash("ls a"), bash("ls b"))
    assert [r.output for r in results] == ["ls a", "ls b"] and len(box.commands) == 3


async def test_an_outage_passes_through_as_itself() -> None:
    class Broken(FakeSandbox):
        async def exec(self, argv: Sequence[str], **_: Any) -> ExecResult:
            raise SandboxError("gone")

    with pytest.raises(SandboxError):
        await run(Broken({}), 4, bash("ls a"), bash("ls b"), ("editor", {"command": "view", "path": "."}))


@given(st.lists(st.binary(max_size=40), min_size=2, max_size=5))
@settings(max_examples=20)  # each starts a shell
def test_outputs_come_back_byte_for_byte(outputs: list[bytes]) -> None:
    escaped = ["".join(f"\\x{byte:02x}" for byte in data) for data in outputs]
    done = subprocess.run(
        ["bash", "-c", script([("printf", text) for text in escaped])], capture_output=True, check=True
    )

    class Says(FakeSandbox):
        async def exec(self, argv: Sequence[str], **_: Any) -> ExecResult:
            return ExecResult(0, done.stdout)

    from repodojo.agent.together import _Asked

    asked = [_Asked(("printf", text), None, None, None) for text in escaped]
    found = asyncio.run(exec_together(Says({}), asked))
    assert found is not None and [r.output for r in found] == outputs and {r.exit_code for r in found} == {0}


async def test_in_a_real_box(tiny_store: TaskStore) -> None:
    factory = LocalFactory(tiny_store.path, allow_unisolated=True)
    box: Any = await factory.create(tiny_store.tasks()[0].environment)
    try:
        calls = [("search", {"query": "def "}), bash("ls"), ("search", {"query": "no such text"})]
        apart, _ = await run(box, 1, *calls)
        together, _ = await run(box, 4, *calls)
        assert [r.output for r in together] == [r.output for r in apart]
        assert await box.changes() == {}
    finally:
        await factory.close()
