from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.evaluate.metrics import mean_interval, pass_at_k, pass_hat_k


@pytest.mark.parametrize(("n", "c", "k"), [(8, 3, 1), (8, 3, 4), (8, 3, 8), (6, 0, 2), (6, 6, 2), (7, 2, 6)])
def test_both_equal_the_count_over_all_subsets(n: int, c: int, k: int) -> None:
    tries = [True] * c + [False] * (n - c)
    subsets = list(itertools.combinations(tries, k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-15)
    assert pass_hat_k(n, c, k) == pytest.approx(sum(map(all, subsets)) / len(subsets), abs=1e-15)


@given(st.integers(1, 300), st.data())
def test_pass_at_k_grows_with_k_and_c(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    value = pass_at_k(n, c, k)
    assert 0 <= pass_hat_k(n, c, k) <= value <= 1
    if k < n:
        assert value <= pass_at_k(n, c, k + 1)
    if c < n:
        assert value <= pass_at_k(n, c + 1, k)


def test_large_counts_neither_overflow_nor_cancel() -> None:
    assert pass_at_k(10_000, 1, 1) == 1e-4
    assert pass_at_k(10_000, 1, 5_000) == 0.5
    assert pass_at_k(10_000, 5_000, 100) == 1.0


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 5, 1), (4, -1, 1), (4, 1, 0)])
def test_undefined_is_an_error(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError):
        pass_at_k(n, c, k)


def test_the_interval_is_the_same_for_the_same_seed_and_holds_the_mean() -> None:
    values = np.random.default_rng(0).uniform(size=60)
    low, high = mean_interval(values, seed=3)
    assert (low, high) == mean_interval(values, seed=3)
    assert low < values.mean() < high


def test_certainty_is_not_claimed_from_few_tasks() -> None:
    low, high = mean_interval([0.0] * 100, seed=0, bounds=(0, 1))
    assert (low, round(high, 3)) == (0.0, 0.036)
    low, high = mean_interval([1.0] * 10, seed=0, bounds=(0, 1))
    assert (round(low, 3), high) == (0.692, 1.0)
    assert mean_interval([0.3], seed=0, bounds=(0, 1)) == (0, 1)
    with pytest.raises(ValueError):
        mean_interval([], seed=0)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """200 worlds of 60 tasks, 8 tries each, chance of a task Beta(0.5, 1.5): mean 0.25, strongly clustered."""
    rng = np.random.default_rng(1)
    clustered = pooled = 0
    for world in range(200):
        passed = rng.binomial(8, rng.beta(0.5, 1.5, size=60))
        low, high = mean_interval(passed / 8, seed=world, bounds=(0, 1))
        clustered += low <= 0.25 <= high
        rate = passed.sum() / 480
        pooled += abs(rate - 0.25) <= 1.96 * np.sqrt(rate * (1 - rate) / 480)
    assert 0.90 <= clustered / 200 <= 0.99
    assert pooled / 200 < 0.85  # why episodes must not be counted as independent
