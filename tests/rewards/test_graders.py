"""Graders that read what a command leaves: gold is paid, nothing is not, and what each can be told is as documented."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_package import boxes

from repodojo.core.errors import GradingError, SandboxError
from repodojo.core.protocols import Sandbox, SandboxFactory
from repodojo.core.records import Environment, Grader, Task
from repodojo.rewards.graders.graded import GradedReward
from repodojo.rewards.graders.junit import cases, spellings, under
from repodojo.rewards.graders.text import compared
from repodojo.tasks.store import TaskStore

TESTS = "tests/test_sums.py::"
PYTEST = "python -m pytest -q -p no:cacheprovider tests/test_sums.py"
ASSERT = "python -c 'from tiny.sums import clamp; assert clamp(5, 0, 3) == 3'"
EQUAL = "test_clamp_equal_bounds"
INSIDE = [f"{TESTS}test_clamp_inside[{x}]" for x in (0, 1, 3)]
KINDS = {
    "exit_code": Grader("exit_code", ASSERT),
    "reward_file": Grader("reward_file", f"{ASSERT} && echo 1 > $REPODOJO_RESULT"),
    "text": Grader("text", "python -c 'from tiny.sums import clamp; print(clamp(5, 0, 3))'", expected={"output": "3"}),
    "junit": Grader("junit", f"{PYTEST} --junitxml=$REPODOJO_RESULT", fail_to_pass=(TESTS + EQUAL,)),
    "status_map": Grader("status_map", PYTEST, expected={EQUAL: "PASSED", **dict.fromkeys(INSIDE, "PASSED")}),
}
FORGED = {  # what each believes where the module says what is expected and ends the process, and nobody asks further
    "exit_code": 1.0,
    "reward_file": 1.0,
    "text": 1.0,
    "junit": 0.0,
    "status_map": 0.0,
}
LIE = b"import os\nprint(3, flush=True)\nos._exit(0)\n"


@pytest.fixture
async def factory(crafted: TaskStore) -> AsyncIterator[SandboxFactory]:
    made = boxes(crafted.path)
    yield made
    await made.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_in_real_boxes(factory: SandboxFactory, crafted: TaskStore, kind: str) -> None:
    reward = GradedReward(factory)
    task = replace(crafted.get("t-clamp"), id=kind, grader=replace(KINDS[kind], timeout=60.0))
    blind = replace(task, id=f"{kind}-blind", focus=())  # nothing can be asked from outside
    gold = await reward.score(task, crafted.gold_changes(task), None)
    idle = await reward.score(task, {}, None)
    lied = await reward.score(task, {"tiny/sums.py": LIE}, None)
    assert (gold.value, idle.value, lied.value) == (1.0, 0.0, 0.0)
    if FORGED[kind]:
        assert (await reward.score(blind, {"tiny/sums.py": LIE}, None)).value == 1.0
    assert gold.parts["witness"] == 1.0 and lied.parts.get("claimed", 0.0) == FORGED[kind]


async def test_a_report_that_was_there_before_does_not_count(factory: SandboxFactory, crafted: TaskStore) -> None:
    grader = Grader("reward_file", "true", expected={"text": "reward.txt"})
    task = replace(crafted.get("t-clamp"), id="planted", grader=grader, focus=())
    score = await GradedReward(factory).score(task, {"reward.txt": b"1"}, None)
    assert (score.value, score.parts["evidence:no reward file"]) == (0.0, 1.0)


class Down:
    """A machine that makes no boxes."""

    async def create(self, environment: Environment) -> Sandbox:
        raise SandboxError("no room")

    async def close(self) -> None:
        return


TASK_OF = {"kind": "none"}


def text_task(parser: str) -> Task:
    from repodojo.core.records import Source

    grader = Grader("text", parser=parser, expected={"output": "x = 1\n", "path": "a.py"})
    return Task(f"t-{parser}", Source("d"), "", Environment(recipe=TASK_OF), grader)


async def test_a_text_without_a_command_needs_no_box_and_an_outage_is_no_verdict(crafted: TaskStore) -> None:
    reward = GradedReward(Down())
    for parser, text, value in (("", b"x = 1", 1.0), ("", b"x = 2", 0.0), ("edit-distance", b"x = 2", 0.4)):
        assert (await reward.score(text_task(parser), {"a.py": text}, None)).value == pytest.approx(value), parser
    task = replace(crafted.get("t-clamp"), grader=KINDS["exit_code"])
    score = await reward.score(task, {}, None)
    assert (score.value, score.error) == (None, "SandboxError")


@pytest.mark.parametrize(
    "grader",
    [
        Grader("junit"),
        Grader("text", "echo"),
        Grader("text", expected={"output": ""}),
        Grader("text", "echo", parser="similar", expected={"output": ""}),
        Grader("status_map", "pytest"),
    ],
)
async def test_a_grader_that_lacks_what_it_needs_is_refused(crafted: TaskStore, grader: Grader) -> None:
    task = replace(crafted.get("t-clamp"), grader=grader, focus=())
    with pytest.raises(GradingError, match=grader.kind):
        await GradedReward(Down()).score(task, {}, None)


def junit(*rows: str, count: int | None = None) -> bytes:
    total = len(rows) if count is None else count
    return f'<testsuites><testsuite tests="{total}">{chr(10).join(rows)}</testsuite></testsuites>'.encode()


CASE = '<testcase classname="tests.test_a.T" name="test_x">{}</testcase>'


def test_a_junit_report_is_whole_or_nothing() -> None:
    name = "tests.test_a.T.test_x"
    assert cases(junit(CASE.format(""))) == {name: "PASSED"}
    for mark, status in (("skipped", "SKIPPED"), ("failure", "FAILED"), ("error", "ERROR")):
        assert cases(junit(CASE.format(f"<{mark}/>"), CASE.format(""))) == {name: status}
    assert cases(junit(CASE.format(""), count=2)) is None
    assert cases(b"") is None and cases(b"<testsuites/>") is None and cases(b"<a") is None
    assert cases(b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + junit(CASE.format(""))) is None


def test_an_id_that_means_two_cases_means_none() -> None:
    found = {"a.T.test_x": "PASSED", "b.T.test_x": "PASSED", "b.test_y[1.5::a]": "FAILED"}
    assert under(["test_x"], found) == {} and under(["a.py::T::test_x"], found) == {"a.py::T::test_x": "PASSED"}
    assert under(["b.py::test_y[1.5::a]"], found) == {"b.py::test_y[1.5::a]": "FAILED"}


@given(st.lists(st.from_regex(r"[a-z]{1,3}", fullmatch=True), min_size=2, max_size=4))
def test_every_way_to_write_a_node_id_is_known(parts: list[str]) -> None:
    written = set(spellings(".".join(parts)))
    for files in range(1, len(parts)):
        assert "/".join(parts[:files]) + ".py::" + "::".join(parts[files:]) in written


@given(st.text(max_size=30), st.text(max_size=30))
def test_only_the_same_text_is_solved(text: str, wanted: str) -> None:
    score = compared(text, wanted, "edit-distance")
    assert score.value is not None and 0 <= score.value <= 1 and score.solved == (text.strip() == wanted.strip())
