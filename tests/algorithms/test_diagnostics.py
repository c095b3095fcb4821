"""What a step reports: counts by hand, and intervals that are GAPO's."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.algorithms.batches import assemble
from repodojo.algorithms.diagnostics import by_outcome, histograms, of_batch, skewness
from repodojo.algorithms.recipes import recipe
from repodojo.core.records import Group, Score, StopReason, Trajectory, Turn


def played(value: float | None, turns: int, stop: StopReason = "submit", group: str = "a") -> Trajectory:
    turn = Turn((1, 2), (3, 4, 5), (-0.1, -0.2, -0.3), (0, 0, 0))
    score = Score(value, "" if value is not None else "SandboxError")
    return Trajectory(f"{group}{turns}", "task", group, "p", 0, (turn,) * turns, stop, score)


def test_turns_and_tokens_by_outcome() -> None:
    found = by_outcome(
        [
            *(played(1.0, 2), played(1.0, 4), played(0.0, 1), played(0.0, 8, "turns")),
            *(played(0.0, 1, group="b"), played(0.0, 3, group="b"), played(None, 9, "outage", group="c")),
        ]
    )
    assert found["turns_solved"] == 3 and found["tokens_sampled_solved"] == 9
    assert found["turns_failed"] == pytest.approx(5 / 3) and found["tokens_sampled_failed"] == 5
    assert found["turns_cut_off"] == 8 and found["tokens_sampled_cut_off"] == 24
    assert found["groups_without_signal_share"] == 0.5  # b; c was an outage and no group at all
    assert "turns_solved" not in by_outcome([played(0.0, 1)]) and by_outcome([]) == {}


def test_histograms_count_every_sample_and_hold_gapos_interval() -> None:
    groups = [
        Group("a", "task", tuple(played(x, 1) for x in (0.0, 0.1, 0.15, 1.0))),
        Group("b", "task", tuple(played(x, 1, group="b") for x in (0.5, 0.6))),
    ]
    done = assemble(groups, recipe("grpo"), 0)
    found = histograms(done)
    assert [g["id"] for g in found["groups"]] == ["a", "b"]
    assert [sum(g[what]) for g in found["groups"] for what in ("reward", "advantage")] == [4, 4, 2, 2]
    assert found["groups"][0]["reward"] == [1, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    assert (found["groups"][0]["interval"], found["groups"][0]["centre"]) == ([0.1, 0.15], 0.125)
    assert found["reward_edges"][0] == 0.0 and found["reward_edges"][-1] == 1.0
    wide = histograms(done, tau=1.0)["groups"][0]
    assert wide["interval"] == [0.0, 1.0]


def test_what_is_equal_or_empty_is_shown_too() -> None:
    equal = assemble([Group("a", "task", (played(1.0, 1), played(1.0, 1)))], recipe("grpo"), 0)
    assert histograms(equal)["groups"][0]["reward"] == [0] * 5 + [2] + [0] * 4
    assert of_batch(equal)["advantage_zero_share"] == 1.0
    nothing = assemble([], recipe("grpo"), 0)
    assert histograms(nothing) == {} and "shaped_reward" not in of_batch(nothing)


@given(
    values=st.lists(st.integers(0, 64).map(lambda n: n / 64), min_size=1, max_size=9),
    scale=st.sampled_from([1.0, 2.0, 16.0]),
)
def test_skewness_is_the_moments_written_out_and_turns_with_the_rewards(values: list[float], scale: float) -> None:
    mean = math.fsum(values) / len(values)
    m2, m3 = (math.fsum((v - mean) ** power for v in values) / len(values) for power in (2, 3))
    wanted = m3 / m2**1.5 if len(set(values)) > 1 else 0.0
    group = np.array([0] * len(values) + [1] * len(values))
    found = skewness(np.array([*values, *(1 - scale * v for v in values)]), group)
    assert found == pytest.approx([wanted, -wanted], rel=1e-6, abs=1e-6)


def test_groups_with_a_long_tail_are_counted_by_side() -> None:
    rewards = {"a": (0.0, 0.0, 0.0, 1.0), "b": (1.0, 1.0, 1.0, 0.0), "c": (0.0, 0.5, 0.5, 1.0), "d": (0.2,) * 4}
    groups = [Group(k, "task", tuple(played(x, 1, group=k) for x in own)) for k, own in rewards.items()]
    found = of_batch(assemble(groups, recipe("grpo"), 0))
    assert (found["reward_skew_right_share"], found["reward_skew_left_share"]) == (0.25, 0.25)
    assert found["reward_skew"] == pytest.approx(0)


def test_a_batch_is_described_after_shaping() -> None:
    row = replace(recipe("golubev_stage1"), turn_penalty_from=1, turn_limit=3)
    found = of_batch(assemble([Group("a", "task", (played(1.0, 1), played(0.0, 2)))], row, 0))
    assert found["shaped_reward"] == 0.25
    assert found["advantage_max"] == -found["advantage_min"] > 0.7
