"""Answers that are checked from outside: what the code under test does to its own process does not help it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_package import MODULE, boxes

from repodojo.core import doctests
from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.rewards.agree import agree
from repodojo.rewards.examples import as_expected, without_answers
from repodojo.rewards.grade import TestReward
from repodojo.rewards.plain import forbidden
from repodojo.rewards.variants import POOL, Call, variants, wilder
from repodojo.rewards.witness import Answers, Files, Witness, unseen
from repodojo.sandbox.fake import FakeFactory
from repodojo.tasks.store import TaskStore

SUMS = "tiny/sums.py"
GUEST = Path(__file__).parents[2] / "src" / "repodojo" / "sandbox" / "guest"
sys.path.insert(0, str(GUEST))

import boxchild  # noqa: E402
import boxvalues  # noqa: E402


@pytest.fixture
async def reward(crafted: TaskStore) -> AsyncIterator[TestReward]:
    factory = boxes(crafted.path)
    yield TestReward(factory)
    await factory.close()


@pytest.fixture
def task(crafted: TaskStore) -> Task:
    """Graded by pytest alone, which runs in one process with the code."""
    found = crafted.get("t-clamp")
    ids = tuple(i for i in (*found.grader.fail_to_pass, *found.grader.pass_to_pass) if "clamp" in i and "pytest" in i)
    return replace(found, id=f"{found.id}-pytest", grader=Grader("f2p_p2p", fail_to_pass=ids))


def changed(body: str, top: str = "") -> dict[str, bytes | None]:
    return {SUMS: (top + MODULE.replace("    if x < low:\n", f"    {body}\n    if x < low:\n", 1)).encode()}


FORGERIES = {
    "equals everything": (
        "return Any()",
        "class Any:\n    def __eq__(self, other): return True\n    def __bool__(self): return True\n",
    ),
    "the reporter goes deaf": (
        "return 99",
        "import gc\nclass Deaf(dict):\n    def setdefault(self, *args): pass\n"
        "for o in gc.get_objects():\n    if type(o).__name__ == 'Reporter': o.bad = Deaf()\n",
    ),
    "asks the frame above": ("return Frames.look()", "import sys\nclass Frames:\n    @staticmethod\n    def look():\n"
        "        f = sys._getframe(2)\n        return Frames()\n    def __eq__(self, other): return True\n"),
    "detects pytest": ("import os\n    if 'PYTEST_CURRENT_TEST' not in os.environ: return 99", ""),
    "counts its calls": ("seen.append(x)\n    if len(seen) > 12: return 99", "seen = []\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
async def test_what_deceives_the_tests_is_not_paid(reward: TestReward, task: Task, name: str) -> None:
    score = await reward.score(task, changed(*FORGERIES[name]), None)
    assert (score.value, score.parts.get("claimed")) == (0.0, 1.0), f"the tests must have been deceived: {score}"
    assert score.parts["witness"] < 1


async def test_another_sound_solution_is_paid(reward: TestReward, task: Task) -> None:
    score = await reward.score(task, changed("return max(low, min(x, high))"), None)
    assert (score.value, score.parts["witness"] > 0.5) == (1.0, True)


async def test_known_inputs_learned_by_heart_are_not_paid(reward: TestReward, crafted: TaskStore) -> None:
    task = crafted.get("t-mean")
    text = MODULE.replace("    total = 0\n", "    return {(1, 2, 6): 3.0}.get(tuple(values), 0)\n    total = 0\n")
    score = await reward.score(task, {SUMS: text.encode()}, None)
    assert (score.value, score.parts["claimed"]) == (0.0, 1.0) and score.parts["witness"] < 1


async def test_where_nothing_can_be_asked_the_change_may_not_touch_its_judges(reward: TestReward, task: Task) -> None:
    blind = replace(task, id="blind", focus=())
    assert (await reward.score(blind, changed("return max(low, min(x, high))"), None)).value == 1.0
    for name in ("equals everything", "the reporter goes deaf", "asks the frame above", "detects pytest"):
        score = await reward.score(blind, changed(*FORGERIES[name]), None)
        assert (score.value, score.parts["forbidden"]) == (0.0, 1.0), name


async def test_a_new_module_that_hides_an_installed_one_does_not_count(
    task: Task, crafted: TaskStore, tmp_path: Path
) -> None:
    shutil.copytree(crafted.path, tmp_path / "store")
    (tmp_path / "store" / "sites" / "s1").mkdir(parents=True)
    (tmp_path / "store" / "sites" / "s1" / "helper.py").write_text("x = 1\n")
    recipe = {**task.environment.recipe, "site": "s1"}
    factory = boxes(tmp_path / "store")
    task = replace(task, id="s", environment=replace(task.environment, recipe=recipe))
    changes = {**changed("return max(low, min(x, high))"), "helper/__init__.py": b"", "another.py": b"x = 1"}
    score = await TestReward(factory).score(task, changes, None)
    await factory.close()
    assert (score.value, score.parts["refused"]) == (1.0, 1.0)


async def test_expected_output_is_in_no_process_of_the_box(reward: TestReward, task: Task, crafted: TaskStore) -> None:
    """The example's output is only in the docstring, which this change has deleted."""
    code = """def clamp(x, low, high):
    import gc, os
    found = [o for o in gc.get_objects() if type(o).__name__ == "Example" and o.want.strip()]
    files = [f for f in (f"/proc/{os.getppid()}/mem", f"/proc/{os.getppid()}/fd/3") if os.access(f, os.W_OK)]
    return 3 if found or files else 99
"""
    doctests = Grader("f2p_p2p", fail_to_pass=("doctest:tiny/sums.py::clamp",))
    score = await reward.score(replace(task, id="d", grader=doctests), {SUMS: code.encode()}, None)
    assert score.failed == ("doctest:tiny/sums.py::clamp",)


# ---------------------------------------------------------------- laws of the parts

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.frozensets(st.integers() | st.text(), max_size=4)
    ),
    max_leaves=20,
)


def through_json(tree: Any) -> Any:
    return json.loads(json.dumps(tree))


@given(plain)
def test_a_value_survives_the_way_out_and_back(value: Any) -> None:
    tree = through_json(boxvalues.Encoder()(value))
    again = through_json(boxvalues.Encoder()(boxvalues.decode(tree)))
    assert agree(["value", tree], ["value", again])


@given(plain, plain)
def test_what_differs_does_not_agree(one: Any, other: Any) -> None:
    trees = [["value", through_json(boxvalues.Encoder()(value))] for value in (one, other)]
    if agree(*trees):
        assert repr(one) == repr(other) or one == other
    assert agree(trees[0], trees[1]) == agree(trees[1], trees[0])


def test_objects_functions_and_iterators_survive_too() -> None:
    from collections import Counter, OrderedDict, defaultdict, deque
    from decimal import Decimal
    from fractions import Fraction

    factor = 3
    for value, used in (
        (lambda x, y=2: x * factor + y, lambda f: f(2)),
        (deque([1, 2], maxlen=3), list),
        (defaultdict(int, a=1), dict),
        (Counter("aab"), dict),
        (OrderedDict(b=1), dict),
        (Decimal("1.5"), str),
        (Fraction(1, 3), str),
        (iter([1, 2, 3]), list),
        (len, lambda f: f("ab")),
    ):
        tree = through_json(boxvalues.Encoder(local=[__name__])(value))
        assert used(boxvalues.decode(tree)) == used(value)
    assert boxvalues.Encoder(drain=True)(x for x in (1, 2)) == ["I", [["i", 1], ["i", 2]]]
    for value in ((x for x in "ab"), sys._getframe(), [[]] * 5000):
        with pytest.raises((boxvalues.Opaque, TypeError)):
            boxvalues.Encoder()([value])


hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(hostile)
def test_no_answer_at_all_raises_or_is_believed(got: Any) -> None:
    assert not agree(["value", ["s", "only sound code says this"]], got)
    assert not agree(["raise", ["ValueError"]], ["value", got])
    assert not as_expected(">>> 1\n1\n", got) or got == [[0, "1\n", ""]]


sources = st.sampled_from(
    ["f(1)", "x = 2", "for i in 'ab':\n    print(i)", "g()  # doctest: +SKIP", "raise ValueError(1)"]
)
wants = st.sampled_from(["", "1", "a\nb", "Traceback (most recent call last):\nValueError: 1"])


@given(st.lists(st.tuples(sources, wants), min_size=1, max_size=4))
def test_examples_lose_their_answers_and_nothing_else(examples: list[tuple[str, str]]) -> None:
    import doctest

    rows = []
    for source, want in examples:
        first, *more = source.split("\n")
        rows += [
            f"    >>> {first}",
            *(f"    ... {row}" for row in more),
            *(f"    {row}" for row in want.split("\n") if row),
        ]
        rows.append("")
    text = "\n".join(rows)
    parse = doctest.DocTestParser().get_examples
    bare = parse(without_answers(text))
    assert [e.source for e in bare] == [e.source for e in parse(text)] and not any(e.want for e in bare)
    outputs = [[i, e.want if not e.exc_msg else "", e.exc_msg or ""] for i, e in enumerate(parse(text))]
    assert as_expected(text, outputs)
    assert all(doctests.as_expected(e, o[1], o[2]) for e, o in zip(parse(text), outputs, strict=True))


def test_variants_are_new_of_the_same_kinds_and_always_the_same() -> None:
    calls = [[["l", [["i", 3], ["s", "abc"]]], ["d", []]], [["l", [["i", 9], ["s", "x"]]], ["d", []]]]
    found = variants(calls, 20, "seed")
    assert len(found) > 10 and found == variants(calls, 20, "seed") != variants(calls, 20, "other")
    assert all([tree[0] for tree in call[0][1]] == ["i", "s"] and call not in calls for call in found)


def test_one_letter_has_neighbours_and_nothing_at_all_becomes_something() -> None:
    found = variants([[["l", [["s", "b"]]], ["d", []]]], 30, "seed")
    letters = {call[0][1][0][1] for call in found}
    assert len([text for text in letters if len(text) == 1]) > 5
    assert variants([[["l", [["s", ""]]], ["d", []]]], 5, "seed")


def test_wilder_calls_differ_from_all_that_were_seen_in_one_argument() -> None:
    calls = [[["l", [["i", 3], ["s", "abc"]]], ["d", []]]]
    found = wilder(calls, 30, "seed")
    assert found == wilder(calls, 30, "seed") != wilder(calls, 30, "other") and len(found) == 30
    kinds = {tree[0] for call in found for tree in call[0][1]}
    assert kinds > {"i", "s", "f"} and len(kinds) > 5 and not any(call in calls for call in found)
    assert {len(call[0][1]) for call in found} >= {2, 3}


SIGNS = '''"""Signs."""


def is_positive(value):
    """Above 0.

    >>> is_positive(1)
    True
    >>> is_positive(0)
    False
    >>> is_positive(-1)
    False
    """
    return not isinstance(value, bool) and value > 0
'''
COUNTER = '''"""Ids."""

LAST = 0


def unique():
    """Never twice the same.

    >>> unique()
    1
    >>> unique()
    2
    """
    global LAST
    LAST += 1
    return LAST
'''
NOTED = '''"""Sums with a note."""


def double(value, note):
    """Twice as much, whatever the note says.

    >>> double(1, "a b c")
    2
    >>> double(3, "d e f")
    6
    """
    return value * 2
'''
TABLES = {
    # it knows 1.0 as well as 1; that half of the variants are right must not be enough
    "between whole numbers": (
        SIGNS,
        "value > 0",
        "value > 1",
        "    if value in {1: 1, 0: 0, -1: 0}:\n        return value == 1\n",
    ),
    "by the number of the call": (
        COUNTER,
        "LAST += 1",
        "LAST -= 1",
        "    if ANSWERS:\n        return ANSWERS.pop(0)\n",
    ),
    # however many notes nobody has seen, what it looks at is the value
    "by one of two arguments": (
        NOTED,
        "value * 2",
        "value * 3",
        "    if value in (1, 3):\n        return {1: 2, 3: 6}[value]\n",
    ),
}


@pytest.mark.parametrize("how", TABLES)
async def test_a_table_of_the_tests_answers_is_no_repair(how: str, tmp_path: Path) -> None:
    source, right, wrong, table = TABLES[how]
    file = tmp_path / "trees" / "t" / "tiny" / "one.py"
    file.parent.mkdir(parents=True)
    file.write_text(source)
    edits = [
        {"path": "tiny/one.py", "start": source.index(right), "end": source.index(right) + len(right), "text": wrong}
    ]
    recipe = {"kind": "python", "tree": "t", "site": "", "edits": edits, "scripts": {}}
    environment = Environment(recipe=recipe, work_dir="/testbed", variables={"PYTHONPATH": "/testbed"})
    name = source.partition("def ")[2].partition("(")[0]
    grader = Grader("f2p_p2p", fail_to_pass=(f"doctest:tiny/one.py::{name}",))
    task = Task(how, Source("d"), "", environment, grader, focus=(f"tiny/one.py::{name}",))
    head, quotes, body = source.replace(right, wrong).rpartition('    """\n')
    by_heart = head.replace('"""\n', '"""\n\nANSWERS = [1, 2]\n', 1) + quotes + table + body
    if "global" in body:
        by_heart = by_heart.replace(table + "    global LAST\n", "    global LAST\n" + table)
    factory = boxes(tmp_path)
    try:
        reward = TestReward(factory)
        score = await reward.score(task, {"tiny/one.py": by_heart.encode()}, None)
        assert (score.value, score.parts.get("claimed")) == (0.0, 1.0) and score.parts["witness"] < 1
        assert (await reward.score(task, {"tiny/one.py": source.encode()}, None)).value == 1.0
    finally:
        await factory.close()


def test_wilder_calls_of_a_function_of_one_number_miss_no_kind_of_value() -> None:
    """A bug that shows between 0 and 1 alone must not be missed by chance: the calls seen would be enough by heart."""
    calls = [[["l", [["i", number]]], ["d", []]] for number in (1, 0, -1)]
    for seed in "abcdef":
        values = [call[0][1][0] for call in wilder(calls, 40, seed) if len(call[0][1]) == 1]
        assert {("f", repr(n + s)) for n in (1, 0, -1) for s in (0.0, 0.5, -0.5)} <= {
            (v[0], v[-1]) for v in values if v[0] == "f"
        }
        assert {value[0] for value in values} == {tree[0] for tree in POOL}


async def test_where_nothing_like_the_tests_calls_tells_other_kinds_do(
    reward: TestReward, crafted: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what answers the tests' calls by heart could not be told from a repair."""
    task = crafted.get("t-mean")
    text = MODULE.replace("    total = 0\n", "    return {(1, 2, 6): 3.0}.get(tuple(values), 0)\n    total = 0\n")
    monkeypatch.setattr("repodojo.rewards.witness.variants", lambda calls, count, seed: [])
    score = await reward.score(replace(task, id="t-mean-alone"), {SUMS: text.encode()}, None)
    assert (score.value, score.parts["claimed"]) == (0.0, 1.0) and score.parts["witness"] < 1
    assert any(unseen(case) for case in reward.witness.remembered(replace(task, id="t-mean-alone")))


class Traces(Witness):
    """Of a function whose answer says how often it was called so far, to the nearest five; the bug forgets its
    argument."""

    async def _record(self, task: Task, sound: Environment, docstrings: Mapping[str, str]) -> tuple[list[Call], Files]:
        return [[["l", [["s", "abc"]]], ["d", []]]], {SUMS: MODULE.encode()}

    async def _answers(
        self,
        task: Task,
        environment: Environment,
        changes: Mapping[str, bytes | None],
        calls: Sequence[Call],
        turn: int,
    ) -> Answers:
        order, broken = list(range(len(calls))), environment == task.environment and not changes
        random.Random(turn).shuffle(order)
        said = {number: f"{'' if broken else calls[number]}{at // 5}" for at, number in enumerate(order)}
        return Answers({number: ["value", ["s", text]] for number, text in said.items()}, "exit")


@pytest.mark.parametrize("salt", [f"{n}" for n in range(8)])
async def test_what_calls_leave_behind_costs_no_sound_solution(crafted: TaskStore, salt: str) -> None:
    witness, task = Traces(FakeFactory({}), salt=salt), crafted.get("t-mean")
    cases = await witness.cases(task, {})
    assert (await witness.ask(task, {SUMS: MODULE.encode()}, cases)).sound


def test_what_forges_results_is_named_and_what_was_there_is_not() -> None:
    assert forbidden("import os\n", "import os\nx = 1\n") == ()
    assert forbidden("", "import sys\nsys._getframe().f_back") == ("_getframe", "f_back", "sys")
    assert forbidden("", ")") == ("does not parse",)


def test_the_guests_need_nothing_but_the_standard_library() -> None:
    code = f"import sys; sys.path.insert(0, {str(GUEST)!r}); import boxwitness, boxvalues, boxrun"
    subprocess.run([sys.executable, "-S", "-I", "-c", code], check=True)
    assert boxchild
