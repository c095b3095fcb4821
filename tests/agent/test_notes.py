"""Notes: what is kept, who is shown it, and that no answer passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.agent import memory
from repodojo.agent.kit import Kit, toolset
from repodojo.agent.loop import AgentLimits, play
from repodojo.agent.memory import Memory, Note, as_text, quotes, readable
from repodojo.agent.policy import ModelPolicy
from repodojo.agent.tools import ToolContext
from repodojo.core.errors import RunError
from repodojo.core.records import Environment, Gold, Grader, Source, Split, Task
from repodojo.inference.chat import ChatFormat
from repodojo.inference.fake import FakeModel
from repodojo.inference.toolcalls import RawCall, render
from repodojo.sandbox.fake import FakeSandbox

PATCH = "--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n def area(w, h):\n-    return w + h\n+    return w * h\n"


def task(name: str, split: Split = "train", patch: str = PATCH, repo: str = "") -> Task:
    return Task(name, Source("lib==1.0", split=split), "Mend it.", Environment(), Grader(), Gold(patch), repo=repo)


def note(text: str = "tests live in tests/", by: Task | None = None, **changes: object) -> Note:
    by = by or task("writer")
    made = Note("lib", by.source.split, by.id, "e", 3, 0.0, "", text, not quotes(text, by))
    return replace(made, **changes)  # type: ignore[arg-type]


def test_notes_go_from_training_to_others_and_never_out_of_a_held_out_split() -> None:
    splits: tuple[Split, ...] = ("train", "dev", "held-out")
    allowed = {
        (writer, reader)
        for writer in splits
        for reader in splits
        if readable(note(by=task("writer", writer)), task("reader", reader))
    }
    assert allowed == {(s, s) for s in splits} | {("train", "dev"), ("train", "held-out")}


def test_without_a_reference_nothing_crosses() -> None:
    blind = replace(task("reader", "held-out"), gold=None)
    assert not readable(note(), blind) and readable(note(), replace(task("reader"), gold=None))


def test_no_task_reads_its_own_notes_and_no_repository_anothers() -> None:
    assert not readable(note(), task("writer"))
    assert not readable(note(), task("reader", repo="other"))


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("change it to return w * h", True),
        ("return  w\t*h is right", True),
        ("it said return w + h before", True),
        ("areas are width times height", False),
        ("return nothing here", False),
    ],
)
def test_a_note_that_quotes_either_answer_is_withheld(text: str, quoted: bool) -> None:
    assert quotes(text, task("t")) is quoted
    other = "--- a/y\n+++ b/y\n-foo bar baz qux\n+quux\n"
    assert readable(note(text, by=task("writer", patch=other)), task("reader", "held-out")) is not quoted
    assert readable(note(text), task("reader", "held-out", patch=other)) is not quoted


words = st.lists(st.sampled_from(["return", "w", "*", "h", "area", "(", ")", "x", "=", "1"]), min_size=2, max_size=9)


@given(words, st.text(max_size=20), st.text(max_size=20))
def test_a_whole_changed_line_is_always_found(line: list[str], before: str, after: str) -> None:
    patch = f"--- a/x\n+++ b/x\n+{' '.join(line)}\n"
    assert quotes(f"{before} {''.join(f' {w} ' for w in line)} {after}", task("t", patch=patch))


def test_members_of_a_group_are_shown_the_same(tmp_path: Path) -> None:
    kept = Memory(tmp_path / "m.db", writes=True)
    reader = task("reader")
    kept.add(note("first"))
    assert [n.text for n in kept.shown(reader, "g1")] == ["first"]
    kept.add(note("second"))
    kept.add(note("second"))
    assert [n.text for n in Memory(tmp_path / "m.db", writes=True).shown(reader, "g1")] == ["first"]
    assert [n.text for n in kept.shown(reader, "g2")] == ["first", "second"]
    assert as_text(kept.shown(reader, "g2")).splitlines()[1:] == ["- first", "- second"]


def test_measuring_reads_and_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no memory"):
        Memory(tmp_path / "m.db", writes=False)
    Memory(tmp_path / "m.db", writes=True).add(note("first"))
    reading = Memory(tmp_path / "m.db", writes=False)
    reading.add(note("second"))
    assert [n.text for n in reading.shown(task("reader"), "g")] == ["first"] and len(reading.notes()) == 1


def test_the_oldest_go_and_a_person_can_drop_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_KEPT", 3)
    kept = Memory(tmp_path / "m.db", writes=True)
    for i in range(5):
        kept.add(note(f"n{i}"))
    kept.add(note("elsewhere", repo="other"))
    assert [n.text for n in kept.notes("lib")] == ["n2", "n3", "n4"]
    assert kept.forget([kept.notes("lib")[0].id, 999]) == 1 and len(kept.notes()) == 3


async def test_what_one_episode_notes_the_next_is_shown(tmp_path: Path, chat: ChatFormat) -> None:
    tools = toolset(Kit(sources=("memory",), memory=str(tmp_path / "m.db"), memory_writes=True))

    async def episode(of: Task, text: str, group: str) -> str:
        says = FakeModel([[*chat.encode(t), chat.stop_ids[0]] for t in (text, render("submit", {}))], version=7)
        actor = ModelPolicy("fake", says, chat).actor(0)
        limits = AgentLimits(4, 300, 4000, context="none")
        played = await play(of, actor, FakeSandbox({}), chat, tools=tools, limits=limits, name=(f"{group}/0", group))
        return chat.decode(played.turns[0].observation_ids)

    wrote = render("remember", {"note": "run  repro first", "about": "x.py"})
    assert "Notes from" not in await episode(task("a"), wrote, "g1")
    assert "\n- x.py: run repro first" in await episode(task("b"), render("remember", {"note": "return w * h"}), "g2")
    assert "Notes from" not in await episode(task("a"), wrote, "g3")  # its own, and one that quotes
    found = Memory(tmp_path / "m.db", writes=False).notes()
    assert [(n.task_id, n.episode, n.version, n.clean) for n in found] == [
        ("a", "g1/0", 7, True),
        ("b", "g2/0", 7, False),
    ]


async def test_limits_of_the_tool(tmp_path: Path) -> None:
    tools = toolset(Kit(sources=("memory",), memory=str(tmp_path / "m.db"), memory_writes=True))
    context = ToolContext(task("a"), FakeSandbox({}))

    async def say(text: str) -> tuple[str, str]:
        result = await tools.run(*tools.check(RawCall("remember", {"note": text})), context)
        return result.output, result.error

    assert (await say("x" * 301))[1] == "too-long"
    assert {await say("clean"), await say("return w * h")} == {("noted", "")}  # the answer betrays nothing
    await say("third")
    assert (await say("fourth"))[1] == "too-many"
