"""GAPO's traps, each by its own number; the formula itself is checked in test_advantages."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.algorithms.advantages import BinaryRewardWarning, gapo
from repodojo.algorithms.advantages.gapo import interval, window_size
from repodojo.algorithms.advantages.groups import read


@given(n=st.integers(1, 5000), percent=st.integers(1, 100))
def test_the_window_is_the_ceiling_of_the_decimal(n: int, percent: int) -> None:
    assert window_size(np.array([n]), percent / 100)[0] == math.ceil(Fraction(percent, 100) * n)


def test_n_20_at_tau_055_gives_11() -> None:
    assert 0.55 * 100 > 55  # what a plain ceiling stumbles over
    assert window_size(np.array([20, 100]), 0.55).tolist() == [11, 55]


def test_a_tie_goes_to_the_lowest_window() -> None:
    found = interval(read([0.0, 1.0, 5.0, 6.0], [0] * 4))
    assert (found.low_K[0], found.high_K[0], found.centre_K[0], found.members_K[0]) == (0.0, 1.0, 0.5, 2)


def test_an_outlier_hardly_moves_the_centre() -> None:
    rewards = [0.5, 0.51, 0.52, 0.53, 0.56, 0.6, 0.65, 0.7]
    for wild in ([*rewards[:-1], 50.0], [-50.0, *rewards[1:]]):
        found = interval(read([*rewards, *wild], [0] * 8 + [1] * 8)).centre_K
        assert abs(found[0] - found[1]) < 0.03 < abs(np.mean(wild) - np.mean(rewards))


@pytest.mark.parametrize("successes", range(1, 8))
def test_a_binary_reward_degenerates_and_is_warned_about(successes: int) -> None:
    rewards = [1.0] * successes + [0.0] * (8 - successes)
    with pytest.warns(BinaryRewardWarning, match="binary"):
        out = gapo(rewards, [0] * 8)
    paid, failed = set(out[:successes]), set(out[successes:])
    assert failed == {0.0} and min(paid) > 0 if successes <= 4 else paid == {0.0} and max(failed) < 0


@pytest.mark.filterwarnings("error")
def test_a_continuous_reward_is_not_warned_about() -> None:
    gapo([0.0, 1.0, 0.3], [0, 0, 0])
    gapo([0.4, 0.9], [0, 0])
    gapo([1.0, 1.0, 1.0], [0, 0, 0])


def test_groups_of_two_and_the_sum() -> None:
    assert gapo([1.0, 3.0], [0, 0], normalise=False) == [0.0, 2.0]  # k = 1: both windows are points, the lower wins
    assert sum(gapo([0.0, 0.1, 0.2, 0.9], [0] * 4)) > 0.1


@pytest.mark.parametrize("wrong", [{"tau": 0.0}, {"tau": 1.1}, {"centre": "mode"}], ids=str)
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        gapo([0.0, 0.5, 1.0], [0, 0, 0], **wrong)  # type: ignore[call-overload]
