"""Refresh: what rollouts say of tasks, how difficulty is estimated, what goes, and what comes in its place."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_package import boxes, quiet, write

from repodojo.cli import main
from repodojo.core.errors import TaskError
from repodojo.core.records import Environment, Gold, Grader, Source, Split, Task
from repodojo.tasks import rollouts as histories
from repodojo.tasks.difficulty import ENOUGH, Model, features, fit, logistic, surprise
from repodojo.tasks.make import Options
from repodojo.tasks.refresh import EASY, HOPELESS, Rule, look, spread, why
from repodojo.tasks.retiring import FILE, retire
from repodojo.tasks.rollouts import Rollouts, Tally
from repodojo.tasks.session import make_all
from repodojo.tasks.store import TaskStore

PATCH = "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-a\n+b\n"


def task(name: str, kind: str = "boolean", split: Split = "train", lines: int = 4) -> Task:
    labels = {"kind": kind, "package": "a", "lines": str(lines)}
    return Task(name, Source("a==1", split=split), "do", Environment(), Grader(), Gold(PATCH), labels=labels)


def filled(path: Path, tasks: list[Task]) -> TaskStore:
    TaskStore(path, create=True).append(tasks, "a", {"split": "train"})
    return TaskStore(path)


@given(pairs=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30), recent=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_outcomes_are_counted_once_in_their_order(pairs: list[tuple[str, bool]], recent: int) -> None:
    found = histories.tally([Rollouts("r", outcomes=histories.outcomes(pairs))], recent=recent)
    for name in "abc":
        mine = [solved for other, solved in pairs if other == name]
        mine = mine[-recent:] if recent else mine
        assert found.get(name, Tally()) == Tally(sum(mine), len(mine))


def test_a_run_that_is_recorded_again_replaces_what_it_said(tmp_path: Path) -> None:
    histories.save(tmp_path, Rollouts("run one/x", time=2.0, outcomes={"t": "01"}))
    histories.save(tmp_path, Rollouts("eval", time=1.0, outcomes={"t": "1"}))
    histories.save(tmp_path, Rollouts("run one/x", time=2.0, outcomes={"t": "011"}))
    histories.save(tmp_path, Rollouts("other", "random-edit", 1.0, {"t": "111"}))
    found = histories.load(tmp_path)
    assert histories.tally(found) == {"t": Tally(3, 4)}
    assert histories.tally(found, recent=3) == {"t": Tally(2, 3)}  # the evaluation came first
    assert histories.tally(found, "random-edit")["t"].rate == 1.0
    (tmp_path / "rollouts" / "bad.json").write_text('{"name": "x", "policy": "y", "time": 1, "outcomes": {"t": "2"}}')
    with pytest.raises(TaskError, match=r"bad.json cannot be read"):
        histories.load(tmp_path)


@given(solved=st.integers(0, 40), more=st.integers(0, 40), strength=st.floats(0.5, 64), bias=st.floats(-4, 4))
@settings(max_examples=80, deadline=None)
def test_an_estimate_lies_between_what_was_foretold_and_what_was_seen(
    solved: int, more: int, strength: float, bias: float
) -> None:
    model, tally = Model({"bias": bias}, strength), Tally(solved, solved + more)
    prior = model.prior({"bias": 1.0})
    found = model.estimate({"bias": 1.0}, tally)
    low, high = sorted((prior, tally.rate if tally.attempts else prior))
    assert low - 1e-9 <= found.rate <= high + 1e-9
    twice = model.estimate({"bias": 1.0}, Tally(2 * solved, 2 * (solved + more)))
    assert abs(twice.rate - tally.rate) <= abs(found.rate - tally.rate) + 1e-9 or not tally.attempts
    assert found.difficulty == 1 - found.rate and 0 < found.spread < 0.5


def test_the_fit_finds_what_made_the_attempts() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(300):
        one = features(task("t", "boolean" if number % 2 else "arithmetic", lines=2 ** (number % 5)))
        rate = 1 / (1 + math.exp(-(1.0 - 0.8 * one["function lines"] + 1.5 * one.get("kind boolean", 0.0))))
        rows.append((one, Tally(int(rng.binomial(8, rng.beta(16 * rate, 16 * (1 - rate)))), 8)))
    model = fit(rows)
    assert (model.tasks, model.attempts) == (300, 2400) and model.strength in (8.0, 16.0, 32.0)
    assert abs(model.weights["function lines"] + 0.8) < 0.15
    assert abs(model.weights["kind boolean"] - model.weights["kind arithmetic"] - 1.5) < 0.4
    by_features, by_rate = surprise(rows)
    assert by_features < by_rate - 0.1
    assert fit(rows[: ENOUGH - 1]) == Model() and surprise(rows[:ENOUGH]) == (0.0, 0.0)


def test_newton_ends_where_the_slope_is_nothing() -> None:
    rng = np.random.default_rng(1)
    x, n = rng.normal(size=(50, 3)), np.full(50, 10.0)
    s = rng.binomial(10, 0.3, 50).astype(float)
    ridge = np.array([0.01, 1.0, 1.0])
    w = logistic(x, s, n, ridge)
    p = 1 / (1 + np.exp(-x @ w))
    assert np.abs(x.T @ (n * p - s) + ridge * w).max() < 1e-6


@pytest.mark.parametrize(
    ("solved", "attempts", "reason"),
    [(6, 9, EASY), (5, 9, ""), (8, 8, EASY), (7, 7, ""), (0, 24, HOPELESS), (0, 23, ""), (1, 100, ""), (0, 0, "")],
)
def test_what_goes(solved: int, attempts: int, reason: str) -> None:
    assert why(Tally(solved, attempts), Rule()) == reason


def test_retired_tasks_leave_the_set_and_do_not_come_back(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", [task("t-1"), task("t-2"), task("t-3"), task("h-1", split="held-out")])
    histories.save(store.path, Rollouts("r", outcomes={"t-1": "11111111", "t-2": "0" * 24, "h-1": "11111111"}))
    seen = look(store)
    assert {name: entry["reason"] for name, entry in seen.going.items()} == {"t-1": EASY, "t-2": HOPELESS}
    assert seen.estimates["t-1"].difficulty < seen.estimates["t-3"].difficulty < seen.estimates["t-2"].difficulty
    assert retire(store, seen.going) == 2 and retire(store, seen.going) == 0
    again = TaskStore(store.path)
    assert [t.id for t in again.tasks()] == ["t-3", "h-1"]
    assert again.manifest["packages"]["a"]["tasks"] == 2 and again.manifest["version"] == 2
    assert again.append([task("t-1"), task("t-4")], "a", {}) == [task("t-4")]
    rows = [json.loads(line) for line in (store.path / FILE).read_text().splitlines()]
    assert [(row["task"]["id"], row["why"]["reason"]) for row in rows] == [("t-1", EASY), ("t-2", HOPELESS)]


def test_a_run_alone_decides_where_one_is_named(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", [task("t-1"), task("t-2")])
    histories.save(store.path, Rollouts("old", outcomes={"t-1": "11111111"}))
    run = Rollouts("new", outcomes={"t-2": "11111111"})
    assert set(look(store).going) == {"t-1"} and set(look(store, Rule(), [run]).going) == {"t-2"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refresh")
    root = write(folder / "tiny-1.0")
    options = Options(limit=4, kinds=("comparison", "arithmetic", "off-by-one"))
    [line] = asyncio.run(make_all([str(root)], folder / "s", options, boxes, lambda source: quiet))
    assert line.added == 4
    return folder / "s"


def test_the_command_retires_and_makes_new_ones(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def called(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(["tasks", *words])
        return int(stop.value.code or 0), capsys.readouterr().out

    before = {t.id for t in TaskStore(made).tasks()}
    easy, hopeless = sorted(before)[:2]
    histories.save(made, Rollouts("r", outcomes={easy: "1" * 8, hopeless: "0" * 24}))
    code, out = called("refresh", str(made), "--dry-run", "--json")
    assert code == 0 and set(json.loads(out)["retired"]) == {easy, hopeless}
    assert {t.id for t in TaskStore(made).tasks()} == before
    code, out = called("list", str(made), "--json")
    rows = {row["id"]: row for row in map(json.loads, out.splitlines())}
    assert rows[easy]["difficulty"] < rows[hopeless]["difficulty"] and rows[easy]["attempts"] == 8
    code, out = called("refresh", str(made), "--json", "--wanted", "0-1", "--unisolated")
    found = json.loads(out)
    assert code == 0 and [(m["maker"], m["wanted"], m["added"]) for m in found["made"]] == [("bugs", 2, 2)]
    after = {t.id for t in TaskStore(made).tasks()}
    assert len(after) == 4 and not after & {easy, hopeless} and len(after - before) == 2
    code, out = called("stats", str(made), "--json")
    assert code == 0 and json.loads(out)["retired"] == 2
    code, out = called("refresh", str(made), "--json", "--wanted", "0.99-1", "--more", "1", "--unisolated")
    assert code == 0 and [m["added"] for m in json.loads(out)["made"]] == [0]  # none so easy can be made
    code, out = called("refresh", str(made), "--wanted", "1-0")
    assert code == 2


def test_a_set_of_features_is_asked_for_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "tiny-1.0")
    options = Options(limit=1, features=True)
    [line] = asyncio.run(make_all([str(root)], tmp_path / "s", options, boxes, lambda source: quiet))
    assert line.added == 1
    with pytest.raises(SystemExit) as stop:
        main(["tasks", "refresh", str(tmp_path / "s"), "--more", "1", "--wanted", "0-1", "--unisolated", "--json"])
    [made] = json.loads(capsys.readouterr().out)["made"]
    assert not stop.value.code and (made["maker"], made["added"]) == ("features", 1)
    assert {t.labels["kind"] for t in TaskStore(tmp_path / "s").tasks()} <= {"removed-function", "removed-class"}


def test_new_tasks_are_spread_over_packages_that_a_maker_knows(tmp_path: Path) -> None:
    store = TaskStore(tmp_path / "s", create=True)
    for name, entry in (("a", {"kinds": []}), ("b", {"history": {}}), ("c", {}), ("d", {"kinds": [], "split": "dev"})):
        one = replace(task(f"t-{name}"), labels={"package": name})
        store.append([one], name, {"split": "train", **entry})
    assert spread(TaskStore(store.path), 3) == {"a": 2, "b": 1}
