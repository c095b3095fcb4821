"""All kinds of bug, several at once, those that a model writes, and features: made and checked like every task."""

from __future__ import annotations

import ast
import asyncio
import json.decoder
import random
import statistics
import textwrap
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_package import MODULE, TESTS, boxes, quiet, write
from tiny_runs import verdicts

from repodojo.cli import main
from repodojo.core.records import Environment, Gold, Grader, Source, Task
from repodojo.inference.chat import ChatFormat
from repodojo.inference.fake import FakeModel
from repodojo.rewards.grade import TestReward
from repodojo.tasks import features, leaks
from repodojo.tasks.discover import FunctionInfo, classes, functions
from repodojo.tasks.make import Options
from repodojo.tasks.mutate import ALL_KINDS, KINDS, OF_CLASSES, mutants
from repodojo.tasks.session import Line, make_all
from repodojo.tasks.store import TaskStore
from repodojo.tasks.written import ModelWriter, rewritten

MODULES = [textwrap, statistics, json.decoder, random]
PROCEDURAL = tuple(kind for kind in ALL_KINDS if kind not in KINDS)


def source_of(module: ModuleType) -> str:
    assert module.__file__
    with open(module.__file__, encoding="utf-8", newline="") as stream:
        return stream.read()


@given(module=st.sampled_from(MODULES), index=st.integers(0, 500), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_mutant_of_any_kind_parses_differs_stays_at_home_and_can_be_taken_back(
    module: ModuleType, index: int, seed: int
) -> None:
    source = source_of(module)
    found = [*functions("m.py", source), *classes("m.py", source)]
    thing = found[index % len(found)]
    start, end = thing.span
    for mutant in mutants(source, thing, random.Random(seed), PROCEDURAL, per_kind=3):
        broken = mutant.edit.apply(source)
        assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(source))
        assert start <= mutant.edit.start and mutant.edit.end <= end + 1
        assert mutant.edit.inverse(source).apply(broken) == source
        assert (mutant.kind in OF_CLASSES) == isinstance(thing.node, ast.ClassDef)


EXAMPLE = '''
class Tally(dict, object):
    """Counts."""

    def add(self, items):
        """Add them."""
        total = 0
        self.seen = 1 + total * 2 + 3
        for item in items:
            if 0 < item < 9 and item != 4 and item:
                total += item
            else:
                total -= 1
        with open(items) as stream:
            total = total - len(stream)
        try:
            total = items[total] / 2
        except KeyError:
            return 0
        return total

    def size(self):
        return len(self)
'''


def texts(thing: FunctionInfo) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for mutant in mutants(EXAMPLE, thing, random.Random(0), ALL_KINDS, per_kind=50):
        found.setdefault(mutant.kind, []).append(mutant.edit.apply(EXAMPLE))
    return found


def test_every_kind_does_what_it_says() -> None:
    add, tally = functions("m.py", EXAMPLE)[0], classes("m.py", EXAMPLE)[0]
    found = texts(add) | texts(tally)
    assert set(PROCEDURAL) <= set(found)
    said = {
        "inverted-branches": "item:\n                total -= 1\n            else:\n                total += item\n",
        "shuffled-lines": "        self.seen = 1 + total * 2 + 3\n        total = 0\n",
        "removed-assignment": '"""Add them."""\n        self.seen',
        "removed-conditional": "for item in items:\n                pass\n".replace("    pass", "pass"),
        "removed-loop": "2 + 3\n        with open",
        "removed-wrapper": "        total = items[total] / 2\n        return total\n",
        "broken-chain": "if 0 < item and item",
        "swapped-operands": "len(stream) - total",
        "removed-base": "class Tally(dict):",
        "removed-method": '"""Counts."""\n\n\n    def size',
        "shuffled-methods": '"""Counts."""\n\n    def size',
    }
    assert set(said) == set(PROCEDURAL)
    for kind, text in said.items():
        assert any(text in mutant for mutant in found[kind]), (kind, found[kind])


# ---------------------------------------------------------------- from the same package to tasks of every sort

CLASS = '''

class Base:
    def label(self):
        return "tally"


class Tally(Base):
    """Adds numbers up.

    >>> tally = Tally()
    >>> tally.add(2)
    >>> tally.total
    2
    >>> tally.label()
    'tally'
    """

    def __init__(self):
        self.total = 0

    def add(self, number):
        """Add one number."""
        self.total += number
'''

MORE = """

def test_label():
    from tiny.sums import Base

    assert Base().label() == "tally"
"""


def make(folder: Path, **given: Any) -> tuple[TaskStore, Line]:
    root = write(folder / "tiny-1.0", MODULE + CLASS, TESTS + MORE)
    [line] = asyncio.run(make_all([str(root)], folder / "s", Options(**given), boxes, lambda source: quiet))
    assert line.error is None, line.error
    return TaskStore(folder / "s"), line


def fates(store: TaskStore) -> set[str]:
    return {f"{v.fate} {v.reason} {v.leaks}" for v in verdicts(store.path)}


def named(store: TaskStore) -> dict[str, Task]:
    return {task.focus[0].partition("::")[2]: task for task in store.tasks()}


def test_features_are_asked_back(tmp_path: Path) -> None:
    store, _ = make(tmp_path, features=True)
    tasks = named(store)
    assert set(tasks) == {"clamp", "mean", "window", "Base", "Base.label", "Tally"}
    clamp, tally = tasks["clamp"], tasks["Tally"]
    assert (clamp.labels["kind"], tally.labels["kind"]) == ("removed-function", "removed-class")
    assert clamp.instruction.startswith("The function `clamp` is missing in tiny/sums.py: write it.\n")
    assert "def clamp(x, low, high):" in clamp.interface and ">>> clamp(5, 0, 3)" in clamp.interface
    assert "def add(self, number):" in tally.interface and "self.total += number" not in tally.interface
    assert "class Base:" in tasks["Base"].interface and 'return "tally"' not in tasks["Base"].interface
    [edit] = [edit for edit in clamp.environment.recipe["edits"] if edit["path"] == "tiny/sums.py"]
    assert edit["text"] == "" and clamp.gold and "+def clamp(x, low, high):" in clamp.gold.patch
    assert fates(store) == {"sound  ()"}


def test_a_solution_that_the_grader_distrusts_makes_no_task(tmp_path: Path) -> None:
    """Its class name is looked up by what could forge results too, and nothing outside can vouch for it."""
    told = "\n\nclass Named:\n    def label(self):\n        return self.__class__.__name__.lower()\n"
    test = "\n\ndef test_named():\n    from tiny.sums import Named\n\n    assert Named().label() == 'named'\n"
    root = write(tmp_path / "tiny-1.0", MODULE + told, TESTS + test)
    [line] = asyncio.run(make_all([str(root)], tmp_path / "s", Options(features=True), boxes, lambda source: quiet))
    assert line.error is None and line.made.funnel["mutants whose mending is not paid"]
    store = TaskStore(tmp_path / "s")
    assert "Named" not in named(store) and fates(store) == {"sound  ()"}


async def test_examples_that_the_agent_writes_do_not_count(tmp_path: Path) -> None:
    store, _ = await asyncio.to_thread(make, tmp_path, features=True, limit=2)
    factory = boxes(store.path)
    try:
        reward = TestReward(factory)
        for task in store.tasks():
            [path] = [edit["path"] for edit in task.environment.recipe["edits"] if edit["path"].startswith("tiny/")]
            box = await factory.create(task.environment)
            now = (await box.read(path)).decode()
            await box.close()
            name = task.focus[0].partition("::")[2].rpartition(".")[2]
            forged = f'{now}\n\ndef {name}(*given):\n    """\n    >>> 1\n    1\n    """\n'
            assert (await reward.score(task, {path: forged.encode()}, None)).value == 0.0
            assert (await reward.score(task, store.gold_changes(task), None)).value == 1.0
    finally:
        await factory.close()


def test_a_feature_that_tells_its_body_is_a_leak() -> None:
    patch = (
        "--- a/m.py\n+++ b/m.py\n@@ -0,0 +1,2 @@\n+def f(number, of, arguments):\n+    return number + of + arguments\n"
    )
    task = Task("t", Source("s"), "", Environment(), Grader(), Gold(patch), labels={"kind": features.FUNCTION})
    told = replace(task, interface="def f(number, of, arguments):\n")
    assert not list(leaks.in_instruction(told))
    spilled = replace(told, instruction="so: return number + of + arguments")
    assert len(list(leaks.in_instruction(spilled))) == 1


def test_several_bugs_at_once(tmp_path: Path) -> None:
    store, line = make(tmp_path, combine=2, kinds=("comparison", "arithmetic"), limit=3, per_function=2)
    combined = [task for task in store.tasks() if task.labels["kind"] == "combined"]
    assert line.made.funnel["combinations kept"] == len(combined) >= 1
    for task in combined:
        assert len(set(task.focus)) == 2 and len(task.visible_tests) == 2
        assert set(task.visible_tests) <= set(task.grader.fail_to_pass)
        assert all(f"`{focus.partition('::')[2]}`" in task.instruction for focus in task.focus)
    assert fates(store) == {"sound  ()"}


def test_bugs_that_a_model_writes(tmp_path: Path, chat: ChatFormat) -> None:
    asked: list[str] = []

    def says(call: Any) -> list[int]:
        prompt = chat.decode(call.token_ids)
        asked.append(prompt)
        if "def clamp" in prompt:
            text = "Here:\n```python\ndef clamp(x, low, high):\n    return max(low, x)\n```"
        elif "def mean" in prompt:
            text = "def mean(values):\n    return sum(values) / len(values)\n"  # right, so it is no bug
        else:
            text = "I cannot"
        return [*chat.encode(text), chat.stop_ids[0]]

    writer = ModelWriter(FakeModel(says), chat)
    store, line = make(tmp_path, writer=writer, per_function=2)
    [task] = store.tasks()
    assert task.labels["kind"] == "model-written" and task.focus == ("tiny/sums.py::clamp",)
    assert task.gold and "-    return max(low, x)" in task.gold.patch
    assert line.made.funnel["mutants run"] == 2 and line.made.funnel["mutants survived"] == 1
    assert asked and not any("if x < low" in prompt for prompt in asked)
    assert fates(store) == {"sound  ()"}


def test_a_model_that_writes_no_code_is_named_as_the_cause(tmp_path: Path, chat: ChatFormat) -> None:
    writer = ModelWriter(FakeModel(lambda call: [*chat.encode("I cannot"), chat.stop_ids[0]]), chat)
    with pytest.raises(AssertionError, match="the model wrote no other body of any function"):
        make(tmp_path, writer=writer, per_function=1)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        ("def size(self):\n    return 1", "        return 1\n"),
        (
            "```\n  def size(self):\n      '''Doc.'''\n      x = 2\n      return x\n```",
            "        x = 2\n        return x\n",
        ),
        ("def size(self): return 1", None),
        ("def other(self):\n    return 1", None),
        ("def size(self):\n    return len(self)", None),
        ("def size(self:\n", None),
        ("", None),
    ],
)
def test_what_is_taken_of_an_answer(answer: str, body: str | None) -> None:
    size = functions("m.py", EXAMPLE)[1]
    mutant = rewritten(size, answer)
    assert (mutant.edit.text if mutant else None) == body
    if mutant:
        assert ast.parse(mutant.edit.apply(EXAMPLE))


@pytest.mark.parametrize(
    "words",
    [
        ["--kinds", "nothing"],
        ["--combine-in", "module"],
        ["--combine", "2", "--combine-in", "town"],
        ["--written-by", "base", "--kinds", "boolean"],
        ["--features", "--combine", "2"],
    ],
)
def test_idle_or_unknown_settings_are_refused(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tasks", "make", str(tmp_path), "-o", str(tmp_path / "s"), *words])
    assert ended.value.code == 2 and not (tmp_path / "s").exists()
