"""The editor: every command, what it refuses, the lines it looks in first, and undo."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.agent.tools import Editor, ToolContext
from repodojo.agent.tools.base import View
from repodojo.agent.tools.editor import EditError, EditorArguments, replaced
from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.sandbox.fake import FakeSandbox

TEXT = "one\ntwo\nthree\ntwo\nfive\n"
TASK = Task("t", Source("s"), "i", Environment(), Grader())


def context_of(view: View | None = None, /, **files: bytes) -> ToolContext:
    files = files or {"a": TEXT.encode()}
    return ToolContext(TASK, FakeSandbox(files), view=view or View("a"))


async def edit(context: ToolContext, command: str, **rest: Any) -> str:
    """What the editor says; its error first where it has one."""
    result = await Editor().run(EditorArguments.model_validate({"command": command, **rest}), context)
    return f"{result.error}: {result.output}" if result.error else result.output


async def text(context: ToolContext, path: str = "a") -> str:
    return (await context.sandbox.read(path)).decode()


async def test_view_numbers_lines_and_remembers_the_range() -> None:
    context = context_of()
    assert await edit(context, "view", view_range=[2, 3]) == "2\ttwo\n3\tthree\n[6 lines in all]"
    assert context.view == View("a", ((2, 3),))
    assert await edit(context, "view", view_range=[5, -1]) == "5\tfive\n6\t"
    assert (await edit(context, "view", view_range=[5, 99])).endswith("\n6\t")
    assert (await edit(context, "view")).startswith("1\tone\n") and context.view == View("a")


@pytest.mark.parametrize("wrong", [[0, 3], [7, 9], [4, 2], [-1, -1], [3, 0]])
async def test_view_refuses_ranges_that_are_none(wrong: list[int]) -> None:
    context = context_of()
    assert await edit(context, "view", view_range=wrong) == "bad-range: a has 6 lines"
    assert context.view == View("a")


async def test_view_of_a_long_file_stops() -> None:
    context = context_of(a=b"x\n" * 900)
    lines = (await edit(context, "view")).split("\n")
    assert len(lines) == 401 and lines[-1] == "[901 lines in all]"


async def test_view_of_folders_and_of_what_is_not_there() -> None:
    context = context_of(**{"a": b"", "p/b": b"", "p/q/c": b""})
    assert await edit(context, "view", path=".") == "a\np/"
    assert await edit(context, "view", path="p/") == "b\nq/"
    assert await edit(context, "view", path="p") == "no-file: p: Is a directory"
    assert await edit(context, "view", path="none") == "no-file: none: No such file or directory"
    assert await edit(context, "view", path="none/") == "no-file: none/: No such file or directory"
    assert await edit(ToolContext(TASK, FakeSandbox({})), "view") == "no-path: name a path"


async def test_create_makes_and_replaces_and_is_undone() -> None:
    context = context_of(View("a", ((2, 3),)))
    assert await edit(context, "create", path="p/new", file_text="x\n") == "wrote p/new"
    assert await edit(context, "create", path="a", file_text="y\n") == "wrote a"
    assert (await text(context, "p/new"), await text(context)) == ("x\n", "y\n")
    assert context.view == View("a")
    for _ in range(2):
        assert await edit(context, "undo") == "undid the last edit"
    assert await context.sandbox.changes() == {} and context.view == View("a", ((2, 3),))
    assert await edit(context, "undo") == "nothing-to-undo: nothing to undo"


async def test_create_keeps_off_folders_and_needs_no_view_of_its_own() -> None:
    context = context_of(**{"p/b": b""})
    assert await edit(context, "create", path="p", file_text="") == "not-written: p: Is a directory"
    assert context.undo == []


async def test_str_replace_changes_what_stands_once() -> None:
    context = context_of()
    assert await edit(context, "str_replace", old_str="three", new_str="3") == "edited line 3"
    assert await text(context) == TEXT.replace("three", "3")
    for old, new, said in (
        ("two", "2", "not-unique: old_str found 2 times, give its line or more context"),
        ("six", "6", "not-found: old_str not found"),
        ("one", "one", "no-change: old_str and new_str are the same"),
        ("", "x", "no-change: old_str is empty"),
    ):
        assert await edit(context, "str_replace", old_str=old, new_str=new) == said
    assert len(context.undo) == 1


async def test_overlapping_places_are_not_unique() -> None:
    context = context_of(a=b"a a a\n")
    assert (await edit(context, "str_replace", old_str="a a", new_str="b")).startswith("not-unique: old_str found 2")


async def test_a_line_says_which_of_several_places_is_meant() -> None:
    for line, edited in ((2, 2), (4, 4), (5, 4), (1, 2), (14, 4), (-8, 2), (3, 4)):
        context = context_of()
        assert await edit(context, "str_replace", line=line, old_str="two", new_str="2") == f"edited line {edited}"
        assert (await text(context)).split("\n")[edited - 1] == "2"
    context = context_of()
    assert await edit(context, "str_replace", line=5, old_str="three", new_str="3") == "edited line 3"
    for line, old in ((3, "six"), (16, "two"), (-9, "two")):
        said = await edit(context, "str_replace", line=line, old_str=old, new_str="6")
        assert said == f"not-found: old_str not found near line {line}"


def test_text_that_holds_a_snippet_a_million_times_is_not_searched_through() -> None:
    """Where each place were looked at, this would take hours."""
    text = "a" * 1_000_000 + "\n" + "b" * 1_000_000
    for line in (None, 1, 2):
        arguments = EditorArguments(command="str_replace", line=line, old_str="a" * 500_000, new_str="")
        if line is None:
            with pytest.raises(EditError, match="found 20 times"):
                replaced(text, arguments, View())
        else:
            assert replaced(text, arguments, View()) == ("a" * 500_000 + "\n" + "b" * 1_000_000, 1)


async def test_within_a_line_the_first_is_meant_and_whole_words_go_before_parts() -> None:
    context = context_of(a=b"for line in lines:\n    a + a\n    a + b\n")
    assert await edit(context, "str_replace", line=1, old_str="in", new_str="not in") == "edited line 1"
    assert (await text(context)).startswith("for line not in lines:\n")
    assert await edit(context, "str_replace", line=1, old_str="ine", new_str="x") == "edited line 1"
    assert await edit(context, "str_replace", line=2, old_str="a", new_str="b") == "edited line 2"
    assert await edit(context, "str_replace", line=3, old_str="a", new_str="c") == "edited line 3"
    assert await text(context) == "for lx not in lines:\n    b + a\n    c + b\n"


@given(st.text("ab_ \n", min_size=1, max_size=30), st.integers(-2, 25), st.text("ab", min_size=1, max_size=2))
def test_a_line_never_makes_an_edit_that_stands_nowhere(code: str, line: int, old: str) -> None:
    arguments = EditorArguments(command="str_replace", line=line, old_str=old, new_str="X")
    try:
        after, at = replaced(code, arguments, View())
    except EditError as error:
        near = [row for i, row in enumerate(code.split("\n"), 1) if abs(i - line) <= 10]
        assert error.kind == "not-found" and not any(old in row for row in near)
        return
    rows, changed = code.split("\n"), after.split("\n")
    assert [i for i, (a, b) in enumerate(zip(rows, changed, strict=True), 1) if a != b] == [at]
    assert all(abs(at - line) <= abs(i - line) for i, row in enumerate(rows, 1) if old in row)


async def test_the_lines_last_shown_come_first_then_the_file() -> None:
    context = context_of(View("a", ((1, 3),)))
    assert await edit(context, "str_replace", old_str="two", new_str="2") == "edited line 2"
    assert await edit(context, "str_replace", old_str="two", new_str="2") == "edited line 4"
    assert await edit(context, "str_replace", old_str="five", new_str="5") == "edited line 5"
    assert await edit(context, "str_replace", old_str="2", new_str="II") == "edited line 2"
    two_windows = context_of(View("a", ((1, 2), (4, 5))))
    assert (await edit(two_windows, "str_replace", old_str="two", new_str="2")).startswith("not-unique")
    assert await edit(two_windows, "str_replace", old_str="three", new_str="3") == "edited line 3"


async def test_another_file_is_searched_whole_and_becomes_the_one_shown() -> None:
    context = context_of(View("a", ((1, 1),)), a=TEXT.encode(), b=TEXT.encode())
    assert await edit(context, "str_replace", path="b", old_str="five", new_str="5") == "edited line 5"
    assert context.view == View("b")
    assert await edit(context, "undo") == "undid the last edit"
    assert context.view == View("a", ((1, 1),))


async def test_insert_puts_lines_after_a_line() -> None:
    context = context_of()
    assert await edit(context, "insert", insert_line=0, new_str="zero") == "edited line 1"
    assert await edit(context, "insert", insert_line=6, new_str="six\nseven") == "edited line 7"
    assert await text(context) == f"zero\n{TEXT}six\nseven\n"
    assert await edit(context, "insert", insert_line=99, new_str="") == "bad-range: the file has 9 lines"
    assert await edit(context, "insert", insert_line=-1, new_str="") == "bad-range: the file has 9 lines"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ({"command": "insert", "insert_line": 0, "new_str": "x\ny"}, ((4, 5), (7, 8))),  # before both: both move
        ({"command": "insert", "insert_line": 2, "new_str": "x\ny"}, ((2, 5), (7, 8))),  # within the first: it grows
        ({"command": "insert", "insert_line": 3, "new_str": "x"}, ((2, 3), (6, 7))),  # between: the second moves
        ({"command": "insert", "insert_line": 6, "new_str": "x"}, ((2, 3), (5, 6))),  # after both: neither
        ({"command": "str_replace", "old_str": "l2\nl3", "new_str": "x"}, ((2, 2), (4, 5))),
        ({"command": "str_replace", "old_str": "l5", "new_str": "x\ny\nz"}, ((2, 3), (5, 8))),
        ({"command": "str_replace", "old_str": "l3\nl4\nl5\n", "new_str": ""}, ((2, 3), (3, 3))),  # across both
    ],
)
async def test_ranges_follow_their_lines(command: dict[str, Any], expected: tuple[tuple[int, int], ...]) -> None:
    view = View("a", ((2, 3), (5, 6)))
    context = context_of(view, a=b"l1\nl2\nl3\nl4\nl5\nl6\nl7\n")
    assert (await edit(context, **command)).startswith("edited line")
    assert context.view.ranges == expected
    await edit(context, "undo")
    assert context.view == view


async def test_undo_after_looking_elsewhere_searches_the_whole_file() -> None:
    context = context_of()
    await edit(context, "insert", insert_line=0, new_str="x\ny")
    await edit(context, "view", view_range=[7, 7])
    await edit(context, "undo")
    assert context.view == View("a")
    assert await edit(context, "str_replace", old_str="five", new_str="5") == "edited line 5"


async def test_several_edits_are_undone_last_first() -> None:
    context = context_of()
    states = [await text(context)]
    for old, new in (("one", "1"), ("five", "5\n6"), ("three\n", "")):
        await edit(context, "str_replace", old_str=old, new_str=new)
        states.append(await text(context))
    for state in reversed(states[:-1]):
        await edit(context, "undo")
        assert await text(context) == state


async def test_files_that_are_not_text_are_left_alone() -> None:
    context = context_of(a=b"\xff\xfe\x00")
    for command, rest in (
        ("view", {}),
        ("str_replace", {"old_str": "a", "new_str": "b"}),
        ("create", {"path": "a", "file_text": "x"}),
    ):
        assert await edit(context, command, **rest) == "not-text: a is not text"
    assert await context.sandbox.changes() == {}


async def test_undo_works_on_what_a_command_left_behind() -> None:
    context = context_of()
    await edit(context, "create", path="b", file_text="x")
    await context.sandbox.write("b", None)
    assert await edit(context, "undo") == "undid the last edit"  # it is gone already
    await edit(context, "str_replace", path="a", old_str="one", new_str="1")
    await context.sandbox.write("a", b"\xff")
    assert await edit(context, "undo") == "undid the last edit"
    assert await text(context) == TEXT
    await edit(context, "create", path="c", file_text="x")
    await context.sandbox.write("c", None)
    await context.sandbox.write("c/d", b"")
    assert await edit(context, "undo") == "not-written: c: Is a directory"


async def test_line_ends_and_marks_are_kept() -> None:
    before = "\ufeffone\r\ntwo\r\nthree".encode()
    context = context_of(a=before)
    await edit(context, "str_replace", old_str="two", new_str="2")
    assert await context.sandbox.read("a") == before.replace(b"two", b"2")


short = st.text("ab\n", max_size=4)
edits = st.one_of(
    st.builds(lambda old, new: {"command": "str_replace", "old_str": old, "new_str": new}, short, short),
    st.builds(lambda at, new: {"command": "insert", "insert_line": at, "new_str": new}, st.integers(-1, 6), short),
    st.builds(lambda body: {"command": "create", "file_text": body}, short),
    st.builds(lambda a, b: {"command": "view", "view_range": [a, b]}, st.integers(0, 4), st.integers(-1, 5)),
    st.just({"command": "undo"}),
)
steps = st.lists(st.tuples(st.sampled_from(["a", "p/b", "new", "p"]), edits), max_size=12)


@given(st.text("ab\né\r", max_size=12), steps)
async def test_whatever_was_done_is_undone(body: str, done: list[tuple[str, dict[str, Any]]]) -> None:
    files = {"a": body.encode(), "p/b": b"aba\nb\n"}
    context = context_of(View("a"), **files)
    looked = False
    for path, command in done:
        await edit(context, path=path, **command)
        looked = looked or command["command"] == "view"
        lines = (await text(context, context.view.path)).count("\n") + 1 if context.view.ranges else 0
        assert all(1 <= a <= b <= lines for a, b in context.view.ranges)
    while context.undo:
        assert await edit(context, "undo") == "undid the last edit"
    assert await context.sandbox.changes() == {}
    assert looked or context.view == View("a")


@given(st.lists(short, min_size=3, max_size=8), st.data())
async def test_a_window_keeps_holding_its_own_lines(rows: list[str], data: st.DataObject) -> None:
    lines = "\n".join(rows).split("\n")
    first = data.draw(st.integers(1, len(lines)))
    last = data.draw(st.integers(first, len(lines)))
    marked = [f"<{number}>{line}" for number, line in enumerate(lines, 1)]
    context = context_of(View("a", ((first, last),)), a="\n".join(marked).encode())
    at = data.draw(st.integers(1, len(lines)))
    await edit(context, "str_replace", old_str=f"<{at}>", new_str=data.draw(st.text("x\n", min_size=1, max_size=5)))
    (a, b), *_ = context.view.ranges
    window = "\n".join((await text(context)).split("\n")[a - 1 : b])
    assert [n for n in range(1, len(lines) + 1) if f"<{n}>" in window] == [n for n in range(first, last + 1) if n != at]
