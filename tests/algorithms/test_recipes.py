"""Recipes, filters, and the way from groups of trajectories to a batch."""

from __future__ import annotations

import warnings
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from repodojo.algorithms.advantages import BinaryRewardWarning, gapo
from repodojo.algorithms.batches import assemble, has_signal, sample
from repodojo.algorithms.filters import treat_overlong, with_signal, with_spread
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
    ("parts", "cause"),
    [
        ({"l_max": 10.0}, "l_max would do nothing"),
        ({"aggregation": "seq-mean-token-sum-norm"}, "lacks l_max"),
        ({"count_masked": True}, "count_masked would do nothing"),
        ({"kl": "k3"}, "kl_coef"),
        ({"kl_coef": 0.1}, "kl_coef would do nothing"),
        ({"correction": "tis"}, "correction would do nothing"),
        ({"veto": 1e-4}, "veto would do nothing"),
        ({"correction": "tis", "old_logprobs": "learner", "correction_low": 0.5}, "no lower bound"),
        ({"correction": "decoupled", "old_logprobs": "learner", "correction_high": 2.0}, "no upper bound"),
        ({"correction_high": -1.0, "correction": "tis", "old_logprobs": "learner"}, "above 0"),
        ({"dual_clip": 0.5}, "dual_clip"),
        ({"clip_low": 1.5}, "clip_low"),
        ({"gapo_tau": 0.5}, "advantage is not 'gapo'"),
        ({"gapo_tau": 1.5, "advantage": "gapo"}, "gapo_tau"),
        ({"gigpo_gamma": 0.9}, "advantage is not 'gigpo'"),
        ({"advantage": "gigpo", "gigpo_episode_weight": 0.0, "gigpo_step_weight": 0.0}, "one of them above"),
        ({"loss": "topr", "clip_high": 0.28}, "clip_high would do nothing"),
        ({"loss": "cispo", "clip_low": 0.2}, "clip_low would do nothing"),
        ({"loss": "cispo", "dual_clip": 3.0}, "dual_clip would do nothing"),
        ({"loss": "gspo"}, "seq-mean-token-mean"),
        ({"loss": "gspo", "aggregation": "seq-mean-token-mean"}, "3e-4"),
        ({"drop_no_signal": False, "signal_by": "score"}, "signal_by would do nothing"),
        ({"entropy_step": 0.01}, "entropy_step would do nothing"),
        ({"turn_limit": 40}, "turn_limit would do nothing"),
        ({"turn_penalty_from": 40, "turn_limit": 40}, "below the limit"),
        ({"overlong_cache": 99999}, "overlong_cache"),
    ],
    ids=str,
)
def test_a_setting_that_is_idle_or_impossible_is_refused(parts: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        recipe("dapo", **parts)


@pytest.mark.parametrize("name", RECIPES)
def test_options_that_a_new_part_leaves_idle_fall_back(name: str) -> None:
    bare = recipe(name, loss="topr", aggregation="token-mean", overlong_cache=None, turn_penalty_from=None)
    assert (bare.clip_high, bare.l_max, bare.overlong_limit, bare.turn_limit) == (0.2, None, None, None)
    assert recipe(name) == RECIPES[name]


def test_unknown_parts_name_the_nearest() -> None:
    for part, wrong, near in (
        ("loss", "gsop", "gspo"),
        ("correction", "ice_pop", "icepop"),
        ("advantage", "gap", "gapo"),
        ("gapo_centre", "meen", "mean"),
    ):
        with pytest.raises(ConfigError, match=f"did you mean '{near}'"):
            recipe("gapo", **{part: wrong})


def test_the_rows_are_the_sheets() -> None:
    one, two = RECIPES["golubev_stage1"], RECIPES["golubev_stage2"]
    assert (one.clip_low, one.clip_high, one.turn_penalty_from, one.turn_limit) == (0.2, 0.3, 10, 40)
    assert (two.clip_low, two.clip_high, two.turn_penalty_from, two.turn_limit) == (0.2, 0.26, 10, 80)
    assert replace(two, name=one.name, clip_high=0.3, turn_limit=40) == one
    assert (one.advantage, one.aggregation, one.drop_no_signal, one.drop_zero_advantage) == (
        "grpo",
        "token-mean",
        True,
        True,
    )
    assert replace(RECIPES["deepswe"], name="grpo_pp", l_max=1024) == RECIPES["grpo_pp"]
    assert replace(RECIPES["gapo"], name="grpo", advantage="grpo") == RECIPES["grpo"]
    assert replace(RECIPES["dapo_gapo"], name="dapo", advantage="grpo", signal_by="outcome") == RECIPES["dapo"]
    assert (RECIPES["dapo"].overlong_limit, RECIPES["dapo"].overlong_cache) == (20480, 4096)


def test_signal_looks_at_the_binary_outcome() -> None:
    assert with_signal([True, False, True, True, False], [7, 7, 3, 3, 9]).tolist() == [True, True, False, False, False]
    shaped = group(trajectory(1.0, solved=1.0), trajectory(0.7, solved=1.0))
    assert not has_signal(shaped, recipe("dapo"))
    assert has_signal(shaped, recipe("grpo"))


def test_signal_by_score_keeps_degrees_and_sees_no_penalty() -> None:
    degrees = group(trajectory(0.2), trajectory(0.7))
    equal = group(trajectory(0.5), trajectory(0.5, "turns"))
    assert not has_signal(degrees, recipe("dapo"))
    assert has_signal(degrees, recipe("dapo_gapo"))
    assert not has_signal(equal, recipe("dapo_gapo", turn_penalty_from=1, turn_limit=3))
    assert with_spread([1.0, 2.0, 3.0, 3.0], [7, 7, 1, 1]).tolist() == [True, True, False, False]


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


def turned(value: float, turns: int, seen: tuple[int, ...] = (1, 2)) -> Trajectory:
    """An episode of so many turns, each shown one of the tokens in `seen`."""
    made = tuple(Turn((9, seen[i % len(seen)]), (5,), (-0.5,), (0,)) for i in range(turns))
    return replace(trajectory(value, solved=value), turns=made)


def test_golubevs_penalty_is_compared_and_groups_are_still_filtered_by_the_outcome() -> None:
    row = recipe("golubev_stage1")
    both = group(turned(1.0, 9), turned(1.0, 25), turned(0.0, 40))
    done = assemble([both, group(turned(1.0, 9), turned(1.0, 40), name="b")], row, 0)
    assert done.rewards == (1.0, 1.0 + (10 - 25) / 30, -1.0)
    assert (done.groups, done.groups_without_signal) == (1, 1)  # the second has spread, and no failure


def test_dapos_penalty_is_on_tokens_of_the_conversation() -> None:
    row = recipe("dapo", overlong_limit=20, overlong_cache=10)
    done = assemble([group(turned(1.0, 3), turned(0.0, 5), turned(0.0, 9))], row, 0)  # 9, 15 and 27 tokens
    assert done.rewards == (1.0, -0.5, -1.0)


def test_samples_without_advantage_leave_the_batch_on_request() -> None:
    members = group(trajectory(1.0), trajectory(0.5), trajectory(0.0))
    kept = {drop: assemble([members], recipe("grpo", drop_zero_advantage=drop), 0) for drop in (False, True)}
    assert [len(done.batch.samples) for done in kept.values()] == [3, 2]
    assert (kept[True].dropped_zero_advantage, kept[True].rewards) == (1, (1.0, 0.0))


def test_malformed_turns_are_masked_on_request() -> None:
    members = group(trajectory(1.0), trajectory(0.0))
    for mask in (False, True):
        done = assemble([members], recipe("grpo", mask_format_errors=mask), 0)
        assert [s.loss_mask[-1] for s in done.batch.samples] == [not mask] * 2


def test_the_advantages_options_reach_it() -> None:
    members = group(*(trajectory(x) for x in (0.0, 0.1, 0.2, 0.9)))
    for parts in ({"gapo_tau": 0.75}, {"gapo_centre": "mean", "gapo_tau": 0.75}, {"gapo_normalise": False}):
        options = {name.removeprefix("gapo_"): value for name, value in parts.items()}
        done = assemble([members], recipe("gapo", **parts), 0)
        assert [s.advantage for s in done.batch.samples] == gapo([0.0, 0.1, 0.2, 0.9], [0] * 4, **options)  # type: ignore[call-overload]


def test_opo_weighs_by_sampled_tokens() -> None:
    done = assemble([group(turned(1.0, 1), turned(0.0, 3))], recipe("grpo", advantage="opo"), 0)
    assert [s.advantage for s in done.batch.samples] == [0.75, -0.25]


def test_gigpo_credits_turns_and_the_rest_of_a_sample_is_as_before() -> None:
    row = recipe("grpo", advantage="gigpo", gigpo_gamma=0.5)
    good, bad = turned(1.0, 2, (1, 2)), turned(0.0, 2, (1, 3))
    samples = assemble([group(good, bad)], row, 0).batch.samples
    first, second = (s.token_advantages for s in samples)
    assert len(first) == len(samples[0].token_ids) and samples[0].loss_mask == sample(good).loss_mask
    # 9 and what was shown carry nothing; the first turns were taken from one state, the second ones were not
    assert first == pytest.approx([0, 0, 2 * first[5], 0, 0, first[5]], rel=1e-5)
    assert second == pytest.approx([-x for x in first])
    alone = assemble([group(good, bad)], row.override(gigpo_episode_weight=0.0), 0).batch.samples[0].token_advantages
    assert alone == pytest.approx([0, 0, first[5], 0, 0, 0], rel=1e-5)  # what is left is the comparison of turns


def test_every_recipe_makes_a_batch_of_a_mixed_group() -> None:
    members = group(*(turned(value, turns) for value, turns in ((1.0, 2), (0.0, 3), (0.0, 5), (1.0, 9))))
    for name in RECIPES:
        made = recipe(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BinaryRewardWarning)
            done = assemble([members], made, 0)
        assert done.groups == 1 and any(s.advantage for s in done.batch.samples)
        assert has_signal(members, made)
