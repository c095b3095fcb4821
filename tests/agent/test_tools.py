"""bash, search, submit, and that prompt, parser and validation agree on what a call is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.agent.tools import Bash, Search, ToolContext, Toolset, default_tools
from repodojo.agent.tools.base import Memo
from repodojo.agent.tools.bash import BashArguments
from repodojo.agent.tools.editor import NEEDS
from repodojo.agent.tools.search import MOST_HITS, SearchArguments
from repodojo.agent.tools.toolset import cut
from repodojo.core.digest import fingerprint
from repodojo.core.errors import ToolFormatError
from repodojo.core.protocols import ExecResult
from repodojo.core.records import Environment, Grader, Source, Task, ToolResult
from repodojo.inference.toolcalls import RawCall, parse, render
from repodojo.sandbox.fake import FakeSandbox

TASK = Task("t", Source("s"), "i", Environment(), Grader(), visible_command="repro")


async def bash(context: ToolContext, command: str) -> ToolResult:
    return await Bash().run(BashArguments(command=command), context)


def answers(result: ExecResult) -> FakeSandbox:
    return FakeSandbox({"a": b"1"}, lambda argv, files: result)


async def test_bash_runs_any_command_and_says_how_it_ended() -> None:
    for result, output, error in (
        (ExecResult(0, b"hello\n\n"), "hello", ""),
        (ExecResult(0, b""), "[no output]", ""),
        (ExecResult(3, b"oh \xff\n"), "oh \ufffd\n[exit code 3]", ""),
        (ExecResult(None, b"a\n", "timeout"), "a\n[stopped: time limit]", "timeout"),
        (ExecResult(None, b"", "output"), "[stopped: too much output]", "output"),
        (ExecResult(None, b"", "memory"), "[out of memory]", "memory"),
        (ExecResult(None, b"", "killed"), "[killed]", "killed"),
    ):
        box = answers(result)
        said = await bash(ToolContext(TASK, box), "ls | wc")
        assert (said.output, said.error, said.tests_run) == (output, error, False)
        assert box.commands == [("bash", "-c", "ls | wc")]


async def test_the_visible_command_is_the_test_run() -> None:
    box = answers(ExecResult(1, b"1 failed\n"))
    said = await bash(ToolContext(TASK, box), " repro ")
    assert said == ToolResult("1 failed", tests_run=True, exit_code=1)
    task = replace(TASK, visible_tests=("doctest:a.py::f",))
    await bash(ToolContext(task, box), "repro")
    assert box.commands == [("bash", "-c", "repro"), ("python", "-m", "boxrun", "doctest:a.py::f")]
    assert not (await bash(ToolContext(replace(TASK, visible_command=""), box), "")).tests_run


async def test_one_state_of_the_source_runs_once() -> None:
    memo = Memo(10)
    box = answers(ExecResult(0, b"1 passed"))
    context = ToolContext(TASK, box, memo)
    for _ in range(3):
        assert (await bash(context, "repro")).output == "1 passed"
    assert len(box.commands) == 1
    await box.write("a", b"2")
    await bash(context, "repro")
    await box.write("a", b"1")
    await bash(context, "repro")
    assert len(box.commands) == 2  # the first state again
    other = answers(ExecResult(0, b"2 passed"))
    assert (await bash(ToolContext(TASK, other, memo), "repro")).output == "1 passed"  # shared by episodes of a task
    assert (await bash(ToolContext(replace(TASK, id="u"), other, memo), "repro")).output == "2 passed"


async def test_other_commands_switch_the_memo_off() -> None:
    memo = Memo(10)
    box = answers(ExecResult(0, b""))
    context = ToolContext(TASK, box, memo)
    for command in ("repro", "touch x", "repro", "repro"):
        await bash(context, command)
    assert len(box.commands) == 4 and not memo.hits
    without = ToolContext(TASK, answers(ExecResult(0, b"")), None)
    for _ in range(2):
        await bash(without, "repro")
    assert isinstance(without.sandbox, FakeSandbox) and len(without.sandbox.commands) == 2


changes = st.dictionaries(st.text("ab/", max_size=3), st.none() | st.binary(max_size=3), max_size=3)


@given(changes, changes)
def test_fingerprints_differ_where_changes_do(one: dict[str, bytes | None], two: dict[str, bytes | None]) -> None:
    assert (fingerprint(one) == fingerprint(two)) == (one == two)
    assert fingerprint(one) == fingerprint(dict(reversed(one.items())))


@pytest.fixture
def tree(tmp_path: Path) -> FakeSandbox:
    """A box in which grep really runs."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "a.py").write_text("def area(w):\n    return w\n")
    (tmp_path / "b.py").write_text("area(1)\n" * 70)
    (tmp_path / "c.bin").write_bytes(b"\0area")

    def run(argv: Sequence[str], files: MutableMapping[str, bytes]) -> ExecResult:
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, env=os.environ | {"LC_ALL": "C"}, check=False)
        return ExecResult(done.returncode, done.stdout + done.stderr)

    return FakeSandbox({}, run)


@pytest.mark.skipif(shutil.which("grep") is None, reason="no grep here")
async def test_search_is_grep_over_text(tree: FakeSandbox) -> None:
    async def search(query: str, path: str = ".") -> ToolResult:
        return await Search().run(SearchArguments(query=query, path=path), ToolContext(TASK, tree))

    assert (await search("def ar+ea")).output == "pkg/a.py:1:def area(w):"
    assert (await search("return", "pkg/a.py")).output == "pkg/a.py:2:    return w"
    assert (await search("-x")).output == "no match"
    hits = (await search("area", "b.py")).output.split("\n")
    assert len(hits) == MOST_HITS + 1 and hits[-1] == "[20 more]"
    assert (await search("(")).error == "search-failed"
    assert (await search("x", "nowhere")).error == "search-failed"


async def test_search_tells_a_flood_from_a_failure() -> None:
    flood = answers(ExecResult(None, b"./a:1:x\n" * 90, "output", truncated=True))
    assert (await Search().run(SearchArguments(query="x"), ToolContext(TASK, flood))).output.startswith("a:1:x\n")
    late = answers(ExecResult(None, b"", "timeout"))
    said = await Search().run(SearchArguments(query="x"), ToolContext(TASK, late))
    assert (said.output, said.error) == ("grep ended by timeout", "search-failed")


def test_schemas_read_as_functions_do() -> None:
    schemas = {schema["function"]["name"]: schema["function"]["parameters"] for schema in default_tools().schemas()}
    assert list(schemas) == ["bash", "search", "editor", "submit"]
    assert schemas["bash"]["required"] == ["command"] and schemas["submit"]["properties"] == {}
    assert schemas["editor"]["properties"]["view_range"] == {
        "type": "array",
        "items": {"type": "integer"},
        "minItems": 2,
        "maxItems": 2,
        "description": "view: first and last line.",
    }
    assert not any(set(p) & {"title", "anyOf", "default"} for s in schemas.values() for p in s["properties"].values())


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)


def value(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What the schema of one argument allows."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "array":
        return st.lists(value(schema["items"]), min_size=schema["minItems"], max_size=schema["maxItems"])
    return {"string": words, "integer": st.integers(-9, 9)}[schema["type"]]


def calls() -> st.SearchStrategy[RawCall]:
    """Calls that the schemas allow; what an editor command needs besides is in its description."""

    @st.composite
    def draw(pick: st.DrawFn) -> RawCall:
        function = pick(st.sampled_from(default_tools().schemas()))["function"]
        parameters = function["parameters"]
        needed = set(parameters["required"])
        found = {name: pick(value(parameters["properties"][name])) for name in needed}
        needed |= set(NEEDS.get(str(found.get("command")), ())) if function["name"] == "editor" else set()
        for name, schema in parameters["properties"].items():
            if name not in found and (name in needed or pick(st.booleans())):
                found[name] = pick(value(schema))
        return RawCall(function["name"], found)

    return draw()


def refused(tools: Toolset, call: RawCall) -> str:
    with pytest.raises(ToolFormatError) as error:
        tools.check(call)
    return error.value.kind


@given(calls(), st.data())
def test_what_a_schema_allows_is_taken_and_nothing_else(call: RawCall, data: st.DataObject) -> None:
    tools = default_tools()
    assert parse(render(call.name, call.arguments)) == [call]
    tool, arguments = tools.check(call)
    assert tool.name == call.name and arguments.model_dump(exclude_unset=True) == call.arguments
    assert refused(tools, RawCall(call.name, {**call.arguments, "extra": 1})) == "unknown-argument"
    assert refused(tools, RawCall(call.name + "s", call.arguments)) == "unknown-tool"
    required = {s["function"]["name"]: s["function"]["parameters"]["required"] for s in tools.schemas()}
    needed = [*required[call.name]]
    needed += NEEDS.get(call.arguments["command"], ()) if call.name == "editor" else ()
    for name in needed:
        less = {key: item for key, item in call.arguments.items() if key != name}
        assert refused(tools, RawCall(call.name, less)) == "missing"
    if call.arguments:
        name = data.draw(st.sampled_from(sorted(call.arguments)))
        wrong = data.draw(st.sampled_from([1.5, True, {"a": 1}, ["x"]]))
        assert refused(tools, RawCall(call.name, {**call.arguments, name: wrong})) == "bad-type"


@pytest.mark.parametrize(
    "call",
    [
        RawCall("editor", {"command": "view", "view_range": [1]}),
        RawCall("editor", {"command": "view", "view_range": [1, 2, 3]}),
        RawCall("editor", {"command": "delete"}),
        RawCall("editor", {"command": "view", "path": "a\0b"}),
        RawCall("bash", {"command": "a\0b"}),
        RawCall("search", {"query": ""}),
        RawCall("search", {"query": "x", "path": "\0"}),
    ],
)
def test_values_out_of_bounds_are_of_a_bad_type(call: RawCall) -> None:
    assert refused(default_tools(), call) == "bad-type"


async def test_outputs_are_timed_cut_and_writable_as_tokens() -> None:
    tools = default_tools(60)
    box = answers(ExecResult(0, b"x" * 500))
    tool, arguments = tools.check(RawCall("bash", {"command": "cat x"}))
    said = await tools.run(tool, arguments, ToolContext(TASK, box))
    assert said.output == "x" * 40 + "\n[440 characters left out]\n" + "x" * 20 and said.seconds > 0
    context = ToolContext(TASK, FakeSandbox({"p/\udcff": b""}))
    tool, arguments = tools.check(RawCall("editor", {"command": "view", "path": "p/"}))
    assert (await tools.run(tool, arguments, context)).output == "?"


@given(st.text(max_size=40), st.integers(0, 30))
def test_cut_keeps_head_and_tail(text: str, limit: int) -> None:
    short = cut(text, limit)
    if len(text) <= limit:
        assert short == text
    else:
        head, _, rest = short.partition(f"\n[{len(text) - limit} characters left out]\n")
        assert len(head) + len(rest) == limit and text.startswith(head) and text.endswith(rest)


async def test_submit_ends_the_episode() -> None:
    tools = default_tools()
    context = ToolContext(TASK, FakeSandbox({}))
    tool, arguments = tools.check(RawCall("submit", {}))
    assert (await tools.run(tool, arguments, context)).output == "submitted" and context.submitted


async def test_a_limit_that_was_met_is_not_remembered() -> None:
    memo = Memo(10)
    box = answers(ExecResult(None, b"", "timeout"))
    for _ in range(2):
        await bash(ToolContext(TASK, box, memo), "repro")
    assert len(box.commands) == 2
