"""What each process score measures, on work small enough to see."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_package import MODULE

from repodojo.core.records import Environment, Gold, Grader, Source, Task, ToolCall, ToolResult, Trajectory, Turn
from repodojo.core.records import Score as Verdict
from repodojo.rewards import intermediate, linting
from repodojo.rewards.formula import Formula
from repodojo.rewards.process import SCORES, habits
from repodojo.rewards.process.work import Work, added, touched_lines

GOLD = "--- a/tiny/sums.py\n+++ b/tiny/sums.py\n@@ -1 +1 @@\n-    if x <= low:\n+    if x < low:\n"
TASK = Task("t", Source("d"), "Mend clamp.", Environment(), Grader(), gold=Gold(GOLD))
BROKEN = MODULE.replace("if x < low:", "if x <= low:")
BASE = {"tiny/__init__.py": "", "tiny/sums.py": BROKEN, "other/__init__.py": "", "other/more.py": "Y = 1\n"}


def work(changed: Mapping[str, str | None], **others: object) -> Work:
    touched = {path: (BASE.get(path, ""), text or "") for path, text in changed.items()}
    return Work(TASK, BASE, changed, touched, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in SCORES if name != "parallelism"])
async def test_the_reference_change_and_no_change_lose_nothing(name: str) -> None:
    assert await SCORES[name](work({"tiny/sums.py": MODULE})) == 1.0
    assert await SCORES[name](work({})) == 1.0


async def test_style_counts_new_findings_for_each_line_added_by_the_repositorys_rules() -> None:
    sloppy = MODULE.replace("import time\n", "import time, os\n    l = 1\n")
    default = await SCORES["style"](work({"tiny/sums.py": sloppy}))
    assert default < 1
    lenient = {"pyproject.toml": '[tool.ruff]\nlint.select = ["W605"]\n'}
    assert await SCORES["style"](work({"tiny/sums.py": sloppy}, configuration=lenient)) == 1.0
    strict = {"ruff.toml": 'lint.select = ["D103"]\n'}
    bare = {"tiny/new.py": "def f(x):\n    return x\n"}
    assert await SCORES["style"](work(bare, configuration=strict)) == 0.5
    other_version = {"ruff.toml": 'required-version = "==0.0.1"\n'}
    assert await SCORES["style"](work({"tiny/sums.py": sloppy}, configuration=other_version)) == default


async def test_findings_that_were_there_before_cost_nothing() -> None:
    base = {"a.py": "import os, sys\n"}
    kept = Work(
        TASK, base, {"a.py": "x = 1\nimport os, sys\n"}, configuration={"ruff.toml": 'lint.select = ["E401"]\n'}
    )
    assert await SCORES["style"](kept) == 1.0


QUOTES = "a = ['x', 'y', 'z']\nb = {'k': 'v'}\nif a:\n    c = 'd'\n"


@pytest.mark.parametrize(
    ("line", "breaks"),
    [
        ("e = 'f'", 0),
        ('e = "f"', 1),
        ('e = "it\'s"', 0),  # the other mark, for a reason
        ("e = '" + "f" * 90 + "'", 1),
        ("e = (", 0),
    ],
)
def test_a_line_breaks_a_habit_of_its_file(line: str, breaks: int) -> None:
    after = f"{QUOTES}{line}\n"
    assert habits.broken(QUOTES, after, added(QUOTES, after)) == breaks
    assert habits.broken("", after, added("", after)) == 0
    tabs = "".join(f"if {n}:\n\tx = {n}\n" for n in range(6))
    assert habits.broken(tabs, tabs + "if 7:\n    x = 7\n", [(12, 14)]) == 1


async def test_reuse_sees_a_copy_under_other_names_and_not_a_move() -> None:
    start = MODULE.index("def window")
    copy = MODULE[start : MODULE.index("def untested")]
    renamed = copy.replace("window", "pieces").replace("items", "things").replace("out", "found")
    assert await SCORES["reuse"](work({"tiny/new.py": renamed})) < 0.2
    moved = {"tiny/new.py": copy, "tiny/sums.py": MODULE.replace(copy, "")}
    assert await SCORES["reuse"](work(moved)) == 1.0
    fresh = "def area(radius, sides=3):\n    return [radius * k for k in range(sides) if k % 2 == 0 or not radius]\n"
    assert await SCORES["reuse"](work({"tiny/new.py": fresh * 1})) == 1.0


async def test_coupling_counts_crossing_imports_cycles_and_fan_out() -> None:
    within = await SCORES["coupling"](work({"tiny/new.py": "from tiny import sums\n"}))
    across = await SCORES["coupling"](work({"tiny/sums.py": "from other import more\n" + MODULE}))
    circle = {"tiny/sums.py": "from other import more\n" + MODULE, "other/more.py": "from tiny import sums\n"}
    assert 1 > within > across > await SCORES["coupling"](work(circle)) > 0


async def test_size_lets_the_need_and_two_lines_pass_and_counts_refused_files_too() -> None:
    assert await SCORES["size"](work({"tiny/sums.py": MODULE + "# one\n# two\n"})) == 1.0
    assert await SCORES["size"](work({"tiny/sums.py": MODULE + "# pad\n" * 14})) == 4 / 16
    assert await SCORES["size"](work({"tiny/sums.py": MODULE, "tests/test_x.py": "x = 1\n" * 14})) == 4 / 16


def turn(text: str, *looks: tuple[ToolCall, str]) -> Turn:
    calls = tuple(call for call, _ in looks)
    return Turn((), (), (), (), text=text, calls=calls, results=tuple(ToolResult(said) for _, said in looks))


SEARCH = ToolCall("search", {"query": "x"})
TWO = ((SEARCH, "pkg/alpha.py:1:alphabetic"), (SEARCH, "pkg/beta.py:1:betatron"))


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([turn("look", *TWO), turn("edit alphabetic and betatron")], 1.0),
        ([turn("look", *TWO), turn("edit alphabetic")], 0.0),  # the second served nothing
        ([turn("look", *TWO, (SEARCH, "nothing")), turn("edit alphabetic and betatron")], 0.5),
        ([turn("look", TWO[0]), turn("look alphabetic", TWO[1]), turn("edit betatron")], 0.0),
        ([turn("look", TWO[0], TWO[0]), turn("edit alphabetic")], 0.0),  # the same twice shows nothing new
        ([turn("edit", (ToolCall("editor", {"command": "undo"}), "undid"))], 0.0),
    ],
)
async def test_parallelism_pays_only_for_calls_whose_results_were_used(turns: list[Turn], expected: float) -> None:
    trajectory = Trajectory("i", "t", "g", "m", 0, tuple(turns), "submit", Verdict(None))
    assert await SCORES["parallelism"](Work(TASK, {}, {}, trajectory=trajectory)) == expected


async def test_reductions_of_syntax_errors_and_findings() -> None:
    base = {"a.py": "x = (\n", "b.py": "import os\n", "c.py": "import os\nimport sys\n"}
    done = await intermediate.reductions(Work(TASK, base, {"a.py": "x = 1\n", "b.py": "y = 1\n"}))
    assert done["compile"] == 1.0 and 0 < done["lint"] < 1
    gone = await intermediate.reductions(Work(TASK, base, {"a.py": None, "b.py": None}))
    assert gone == {"compile": 0.0, "lint": 0.0}
    assert await intermediate.reductions(Work(TASK, {"a.py": "x = 1\n"}, {})) == {"compile": 0.0, "lint": 0.0}


async def test_files_that_break_ruff_are_no_outage_of_the_base() -> None:
    found = await linting.findings({"a.py": "x = \x00\n", "b.py": ""}, {})
    assert sum(found["a.py"].values()) and not found["b.py"]


LINES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=8).map(lambda lines: "".join(f"{x}\n" for x in lines))


@given(LINES, LINES)
def test_touched_lines_are_none_for_equal_texts_and_at_least_what_was_added(before: str, after: str) -> None:
    assert (touched_lines(before, after) == 0) == (before == after)
    assert touched_lines(before, after) >= sum(last - first for first, last in added(before, after))


WEIGHTS = st.dictionaries(st.sampled_from(sorted(SCORES)), st.floats(0.01, 2))
PARTS = st.dictionaries(st.sampled_from([*SCORES, *intermediate.NAMES]), st.floats(0, 1))
FORMULAS = st.builds(
    Formula,
    weights=WEIGHTS,
    gates=st.dictionaries(st.sampled_from(sorted(SCORES)), st.floats(0.01, 1)),
    cap=st.floats(0.01, 5),
    partial=st.dictionaries(st.sampled_from(intermediate.NAMES), st.floats(0.01, 2)),
    partial_cap=st.floats(0.01, 0.99),
)


@given(FORMULAS, PARTS, PARTS)
def test_process_scores_never_pay_where_correctness_does_not(
    formula: Formula, parts: dict[str, float], other: dict[str, float]
) -> None:
    process = {name: value for name, value in other.items() if name in SCORES}
    assert formula.value(False, {**parts, **process}) == formula.value(False, parts)
    assert 0 <= formula.value(False, parts) <= formula.partial_cap < 1 <= formula.value(True, other) <= 1 + formula.cap


@given(FORMULAS, PARTS, st.sampled_from(sorted(SCORES)))
def test_a_better_process_is_never_paid_less(formula: Formula, parts: dict[str, float], name: str) -> None:
    assert formula.value(True, {**parts, name: 1.0}) >= formula.value(True, parts)


async def test_thrift_counts_failed_calls_and_tokens_beyond_the_target() -> None:
    call = ToolCall("bash", {"command": "ls"})
    results = (ToolResult("x"), ToolResult("no", error="timeout"))
    turns = (Turn((1,), (2,) * 30, (), (), calls=(call, call), results=results), Turn((1,), (2,) * 10, (), ()))
    trajectory = Trajectory("e", "t", "g", "p", 0, turns, "submit", Verdict(1.0))
    assert await SCORES["tool_errors"](Work(TASK, {}, {}, trajectory=trajectory)) == 0.5
    for target, expected in ((10, 0.25), (40, 1.0), (1000, 1.0)):
        assert await SCORES["tokens"](Work(TASK, {}, {}, trajectory=trajectory, tokens_target=target)) == expected
