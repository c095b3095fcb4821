from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from repodojo.core.errors import RunError
from repodojo.core.records import (
    Environment,
    Grader,
    Score,
    Source,
    StopReason,
    Task,
    ToolCall,
    ToolResult,
    Trajectory,
    Turn,
)
from repodojo.evaluate.summary import Row, paired_difference, ran_tests_first, summarise
from repodojo.evaluate.tables import kinds_table, markdown_table, read_rows, rich_table, write_results

TEST = (ToolCall("bash", {"command": "pytest"}), ToolResult("ok", tests_run=True))
EDIT = (ToolCall("editor", {"command": "view"}), ToolResult("x"))
WRONG = (ToolCall("editor", {"command": "view"}), ToolResult("no such file", error="missing"))
SUBMIT = (ToolCall("submit", {}), ToolResult("done"))


def task(name: str, kind: str = "comparison") -> Task:
    return Task(name, Source("pkg"), "fix it", Environment(), Grader(), labels={"kind": kind})


def turn(*steps: tuple[ToolCall, ToolResult], format_error: str = "") -> Turn:
    calls, results = tuple(c for c, _ in steps), tuple(r for _, r in steps)
    if format_error:
        results += (ToolResult("bad", f"format:{format_error}"),)
    return Turn((1, 2), (3, 4, 5), (-1.0,) * 3, (0,) * 3, calls=calls, results=results, format_error=format_error)


def episode(
    name: str,
    value: float | None,
    *turns: Turn,
    stop: StopReason = "submit",
    changes: dict[str, str | None] | None = None,
) -> Trajectory:
    error = "" if value is not None else "GradingError"
    turns = turns or (turn(EDIT), turn(SUBMIT))
    return Trajectory("e", name, "g", "p", 0, turns, stop, Score(value, error), changes=changes or {})


def row(passes: dict[str, int], name: str = "p", n: int = 8) -> Row:
    episodes = [episode(t, 1.0 if i < c else 0.0) for t, c in passes.items() for i in range(n)]
    return summarise(episodes, [task(t) for t in passes], name=name, seed=0)


@pytest.mark.parametrize(
    ("turns", "stop", "expected"),
    [
        ([turn(TEST), turn(SUBMIT)], "submit", True),
        ([turn(TEST, SUBMIT)], "submit", True),
        ([turn(SUBMIT, TEST)], "submit", False),
        ([turn(EDIT), turn(SUBMIT)], "submit", False),
        ([turn(TEST), turn(EDIT)], "turns", False),
        ([turn(format_error="bad-json"), turn(TEST, SUBMIT)], "submit", True),
        ([turn((ToolCall("submit", {}), ToolResult("no", error="refused"))), turn(TEST), turn(SUBMIT)], "submit", True),
    ],
)
def test_only_tests_before_the_submit_count(turns: list[Turn], stop: StopReason, expected: bool) -> None:
    assert ran_tests_first(episode("a", 1.0, *turns, stop=stop)) is expected


def test_an_outage_is_counted_and_is_no_failure() -> None:
    episodes = [episode("a", 1.0), episode("a", None, stop="outage"), episode("a", None), episode("b", 0.0)]
    got = summarise(episodes, [task("a"), task("b")], name="p", seed=0)
    assert (got.pass1, got.episodes, got.outages) == (0.5, 2, 2)
    nothing = summarise([episode("a", None)], [task("a")], name="p", seed=0)
    assert (nothing.pass1, nothing.pass1_ci, nothing.episodes, nothing.outages) == (None, None, 0, 1)


def test_tasks_weigh_the_same_however_often_they_were_tried() -> None:
    episodes = [episode("a", 1.0)] * 9 + [episode("b", 0.0)]
    got = summarise(episodes, [task("a"), task("b")], name="p", seed=0)
    assert (got.pass1, got.pass8, got.pass8_tasks) == (0.5, 1.0, 1)


def test_the_figures_of_a_small_set_by_hand() -> None:
    episodes = [
        episode("a", 1.0, turn(WRONG, EDIT), turn(TEST, SUBMIT), changes={"m.py": "sound"}),
        episode("a", 1.0, turn(SUBMIT), changes={"m.py": "other"}),
        episode("b", 0.4, turn(format_error="no-call"), stop="turns"),
        episode("b", 0.0, turn(EDIT), stop="context"),
    ]
    tasks = [task("a", "constant"), task("b", "boolean")]
    got = summarise(episodes, tasks, name="p", seed=0, original=lambda _: {"m.py": "sound"})
    assert (got.pass1, got.pass8, got.tasks, got.restored) == (0.5, None, 2, 0.5)
    assert (got.tested_before_submit, got.submit_rate) == (0.25, 0.5)
    assert (got.turns, got.tokens) == (5 / 4, 15 / 4)
    assert (got.tool_error_rate, got.format_error_rate) == (1 / 6, 1 / 5)
    assert got.stop_reasons == {"context": 1, "submit": 2, "turns": 1}
    assert {kind: (k.pass1, k.n) for kind, k in got.by_kind.items()} == {"boolean": (0.0, 1), "constant": (1.0, 1)}


def test_an_episode_of_an_unknown_task_is_an_error() -> None:
    with pytest.raises(ValueError, match="not given: z"):
        summarise([episode("z", 1.0)], [task("a")], name="p", seed=0)


def test_the_order_of_arrival_changes_nothing() -> None:
    episodes = [episode(f"t{i % 5}", float(i % 3 == 0)) for i in range(40)]
    tasks = [task(f"t{i}") for i in range(5)]
    first = summarise(episodes, tasks, name="p", seed=4)
    assert first == summarise(episodes[::-1], tasks[::-1], name="p", seed=4)


def test_a_paired_difference_sees_what_separate_intervals_hide() -> None:
    """Tasks differ much, the policies differ little but always: paired, the gap is clear."""
    worse = {f"t{i:02}": i % 7 for i in range(40)}
    better = {t: c + 1 for t, c in worse.items()}
    a, b = row(better, "a"), row(worse, "b")
    assert a.pass1_ci and b.pass1_ci and a.pass1_ci[0] < b.pass1_ci[1]
    gap = paired_difference(a, b, seed=0)
    assert (gap.tasks, gap.better, gap.worse) == (40, "a", "b")
    assert gap.value == pytest.approx(1 / 8)
    assert gap.ci[0] > 0
    with pytest.raises(ValueError, match="share no task"):
        paired_difference(a, row({"z": 1}), seed=0)


def test_tables_and_results_come_back(tmp_path: Path) -> None:
    rows = {"base": row({"a": 0, "b": 1}, "base"), "rl": row({"a": 4, "b": 8}, "rl")}
    text = markdown_table(list(rows.values()))
    assert text.splitlines()[2].startswith("| base | 6.2 [0.0, 12.5] | 50.0 [0.0, 100.0] |")
    assert kinds_table(list(rows.values())).splitlines()[2] == "| comparison (2) | 6.2 | 75.0 |"
    out = io.StringIO()
    Console(file=out, width=200).print(rich_table(list(rows.values()), title="Held-out"))
    assert "75.0 [50.0, 100.0]" in out.getvalue()

    for width in (100, 60, 48):
        out = io.StringIO()
        long = [row({"a": 0, "b": 1}, "curriculum: stage:short"), rows["rl"]]
        Console(file=out, width=width).print(rich_table(long, width=width))
        assert "6.2 [0.0, 12.5]" in out.getvalue() and "…" not in out.getvalue(), out.getvalue()

    path = tmp_path / "deep" / "results.json"
    gap = paired_difference(rows["rl"], rows["base"], seed=1)
    write_results(path, rows, seed=1, command="repodojo eval", differences=[gap])
    assert read_rows(path) == rows
    document = json.loads(path.read_text())
    wanted = {"pass1", "pass1_ci", "pass8", "by_kind", "tested_before_submit", "episodes"}
    assert wanted <= set(document["rows"]["rl"])
    assert document["machine"]["cores"] >= 1
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]
    with pytest.raises(RunError, match="holds no results"):
        read_rows(tmp_path / "none.json")
