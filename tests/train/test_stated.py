"""Confidence: stated at submit only where it is asked for, paid by a proper score, calibrated in what is measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from repodojo.agent.tools import default_tools
from repodojo.algorithms.batches import shaped_rewards
from repodojo.algorithms.confidence import penalty
from repodojo.algorithms.recipes import recipe
from repodojo.core.errors import ConfigError, ToolFormatError
from repodojo.core.records import Score, ToolCall, Trajectory, Turn
from repodojo.evaluate.summary import calibration_of, summarise
from repodojo.evaluate.tables import plain
from repodojo.inference.toolcalls import RawCall
from repodojo.train.config import load
from repodojo.train.idle import recipe_of
from repodojo.train.setup import pool_settings


def played(p: float | None, reward: float) -> Trajectory:
    call = ToolCall("submit", {} if p is None else {"probability": p})
    return Trajectory("a", "t", "g", "m", 0, (Turn((1,), (2,), (-0.1,), (0,), calls=(call,)),), "submit", Score(reward))


def test_submit_takes_a_probability_only_where_it_is_asked_for() -> None:
    off, on = default_tools(400), default_tools(400, confidence=True)
    assert off.schemas() == default_tools(400).schemas() != on.schemas()
    assert "probability" not in str(off.schemas())
    with pytest.raises(ToolFormatError, match="probability"):
        off.check(RawCall("submit", {"probability": 0.5}))
    for sound in ({}, {"probability": 0.25}, {"probability": 1}):
        on.check(RawCall("submit", sound))
    for wrong in (1.5, -0.1, "0.5", float("nan"), True):
        with pytest.raises(ToolFormatError) as caught:
            on.check(RawCall("submit", {"probability": wrong}))
        assert caught.value.kind == "bad-type"
    assert pool_settings(load(None, ["agent.confidence=true"])).kit.confidence
    assert not pool_settings(load(None)).kit.confidence


@pytest.mark.parametrize("score", ["brier", "log"])
def test_what_is_paid_is_highest_for_the_true_probability(score: str) -> None:
    said = np.linspace(0, 1, 101)
    for true in (0.1, 0.5, 0.8):
        right, wrong = (penalty(said, np.full(101, outcome), score=score) for outcome in (1, 0))  # type: ignore[arg-type]
        mean = true * right + (1 - true) * wrong
        assert said[mean.argmax()] == pytest.approx(true, abs=0.011)
    worst, best = penalty([0.0, 1.0], [1, 0], score=score), penalty([1.0, 0.0], [1, 0], score=score)  # type: ignore[arg-type]
    assert worst.tolist() == pytest.approx([-1.0, -1.0]) and best.tolist() == pytest.approx([0.0, 0.0], abs=3e-3)


def test_a_recipe_pays_it_and_correctness_still_comes_first() -> None:
    row = recipe_of(load(None, ["agent.confidence=true", "rl.recipe=grpo", "recipe.confidence=0.4"]))
    rewards = shaped_rewards([played(1.0, 1.0), played(0.0, 1.0), played(None, 1.0), played(0.0, 0.0)], row)
    assert rewards.tolist() == pytest.approx([1.0, 0.6, 0.9, 0.0])
    with pytest.raises(ConfigError, match="nobody states"):
        load(None, ["recipe.confidence=0.4"])
    with pytest.raises(ConfigError, match="confidence"):
        recipe("grpo", confidence=0.5)


def test_an_evaluation_reports_calibration_where_something_was_stated() -> None:
    episodes = [played(0.9, 1.0), played(0.9, 0.0), played(0.2, 0.0), played(None, 1.0)]
    found = calibration_of(episodes)
    assert found["stated"] == 0.75 and found["stated_mean"] == pytest.approx(2.0 / 3)
    assert found["brier"] == pytest.approx((0.01 + 0.81 + 0.04) / 3)
    assert found["ece"] == pytest.approx((2 * 0.4 + 0.2) / 3)
    assert calibration_of([played(None, 1.0), replace(played(0.5, 1.0), score=Score(None, "SandboxError"))]) == {}
    from repodojo.core.records import Environment, Grader, Source, Task

    task = Task("t", Source("d"), "mend", Environment(), Grader())
    with_it, without = (summarise(e, [task], name="x", seed=0) for e in (episodes, [played(None, 1.0)]))
    assert plain(with_it)["calibration"] == found and "calibration" not in plain(without)
