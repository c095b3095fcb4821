"""Recipes, filters, and the way from groups of trajectories to a batch."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from repodojo.algorithms.batches import assemble, has_signal, sample
from repodojo.algorithms.filters import treat_overlong, with_signal
from repodojo.algorithms.recipes import RECIPES, Recipe, recipe
from repodojo.core.errors import ConfigError
from repodojo.core.records import Group, Score, StopReason, ToolResult, Trajectory, Turn


def trajectory(value: float | None, stop: StopReason = "submit", group: str = "a", **parts: float) -> Trajectory:
    turns = (
        Turn((1, 2, 3), (4, 5), (-0.1, -0.2), (0, 0)),
        Turn((6,), (7,), (-0.3,), (0,), format_error="bad-json"),
    )
    score = Score(value, "" if value is not None else "SandboxError", parts)
    return Trajectory("t", "task", group, "p", 0, turns, stop, score)


def group(*members: Trajectory, name: str = "a") -> Group:
    return Group(name, "task", members)


def test_grpo_pp_is_the_sheets() -> None:
    row = RECIPES["grpo_pp"]
    assert (row.advantage, row.clip_low, row.clip_high, row.overlong) == ("rloo", 0.2, 0.28, "mask")
    assert (row.aggregation, row.kl, row.entropy_coef) == ("seq-mean-token-sum-norm", "", 0.0)
    assert row.l_max is not None


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'grpo_pp'"):
        recipe("grpo-pp")
    with pytest.raises(ConfigError, match="did you mean 'clip_high'"):
        recipe("dapo", clip_hihg=0.3)
    with pytest.raises(ConfigError, match="did you mean 'dr_grpo'"):
        recipe("grpo", advantage="drgrpo")


def test_overriding_gives_a_new_recipe() -> None:
    changed = recipe("dapo", clip_low=0.1)
    assert changed.clip_low == 0.1
    assert RECIPES["dapo"].clip_low == 0.2
    with pytest.raises(FrozenInstanceError):
        changed.clip_low = 0.3  # type: ignore[misc]


@pytest.mark.parametrize(
    "parts",
    [
        {"l_max": 10.0},
        {"aggregation": "seq-mean-token-sum-norm"},
        {"count_masked": True},
        {"kl": "k3"},
        {"kl_coef": 0.1},
        {"tis_cap": 2.0},
        {"dual_clip": 0.5},
        {"clip_low": 1.5},
    ],
    ids=str,
)
def test_a_setting_that_is_idle_or_impossible_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        recipe("dapo", **parts)


def test_signal_looks_at_the_binary_outcome() -> None:
    assert with_signal([True, False, True, True, False], [7, 7, 3, 3, 9]).tolist() == [True, True, False, False, False]
    shaped = group(trajectory(1.0, solved=1.0), trajectory(0.7, solved=1.0))
    assert not has_signal(shaped, recipe("dapo"))
    assert has_signal(shaped, recipe("grpo"))


def test_solved_prefers_the_recorded_outcome() -> None:
    assert Score(0.4, parts={"solved": 1.0}).solved
    assert not Score(None).solved
    assert Score(1.0).solved
    assert not Score(0.9).solved


def test_overlong_modes() -> None:
    stops: list[StopReason] = ["submit", "context", "turns", "format", "time"]
    cut = [False, True, True, False, True]
    assert treat_overlong("penalise", stops).keep_B.all()
    assert not treat_overlong("penalise", stops).masked_B.any()
    assert treat_overlong("mask", stops).masked_B.tolist() == cut
    assert treat_overlong("mask", stops).keep_B.all()
    assert treat_overlong("drop", stops).keep_B.tolist() == [not c for c in cut]


@pytest.mark.parametrize(
    ("mode", "advantages", "masked"),
    [
        # rewards 1, 0, 0 of which the last was cut off: leave-one-out over three, or over two where it is dropped
        ("penalise", [1.0, -0.5, -0.5], [False, False, False]),
        ("mask", [1.0, -0.5, -0.5], [False, False, True]),
        ("drop", [1.0, -1.0], [False, False]),
    ],
)
def test_overlong_in_a_batch(mode: Any, advantages: list[float], masked: list[bool]) -> None:
    members = (trajectory(1.0), trajectory(0.0), trajectory(0.0, "context"))
    done = assemble([group(*members)], recipe("grpo_pp", overlong=mode), 5)
    assert [s.advantage for s in done.batch.samples] == pytest.approx(advantages)
    assert [not any(s.loss_mask) for s in done.batch.samples] == masked
    assert done.batch.version == 5
    assert (done.masked_overlong, done.dropped_overlong) == (sum(masked), 3 - len(advantages))


def test_an_outage_never_enters_a_baseline() -> None:
    done = assemble([group(trajectory(1.0), trajectory(0.0), trajectory(None, "outage"))], recipe("grpo_pp"), 0)
    assert [s.advantage for s in done.batch.samples] == [1.0, -1.0]
    assert done.without_score == 1


def test_groups_with_nothing_to_compare_leave() -> None:
    lonely = group(trajectory(1.0), trajectory(None, "outage"))
    equal = group(trajectory(0.0), trajectory(0.0))
    for name in RECIPES:
        done = assemble([lonely, equal], recipe(name), 0)
        assert done.groups == (0 if RECIPES[name].drop_no_signal else 1)
        assert done.groups + done.groups_without_signal == 2
    assert assemble([], recipe("grpo_pp"), 0).batch.samples == ()


def test_groups_of_one_name_are_still_compared_apart() -> None:
    same = [group(trajectory(1.0), trajectory(0.0)), group(trajectory(5.0), trajectory(0.0))]
    assert [s.advantage for s in assemble(same, recipe("grpo_pp"), 0).batch.samples] == [1.0, -1.0, 5.0, -5.0]


def test_a_sample_is_aligned_token_by_token() -> None:
    plain = sample(trajectory(1.0), 0.5)
    assert plain.token_ids == (1, 2, 3, 4, 5, 6, 7)
    assert plain.loss_mask == (False, False, False, True, True, False, True)
    assert plain.logprobs == (0.0, 0.0, 0.0, -0.1, -0.2, 0.0, -0.3)
    assert sample(trajectory(1.0), mask_format_errors=True).loss_mask[-1] is False
    assert not any(sample(trajectory(1.0), masked=True).loss_mask)
    first, last = (turn := trajectory(1.0)).turns
    refused = replace(turn, turns=(replace(first, results=(ToolResult("old_str not found", "not-found"),)), last))
    assert sample(refused).loss_mask == plain.loss_mask
    assert sample(refused, mask_tool_errors=True).loss_mask == (False,) * 6 + (True,)


def test_every_row_is_a_plain_recipe() -> None:
    assert {type(row) for row in RECIPES.values()} == {Recipe}
    assert all(name == row.name for name, row in RECIPES.items())
