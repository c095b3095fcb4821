"""Which tasks are worth playing: against a direct average over what is believed of them, and Golubev's rule."""

from __future__ import annotations

from functools import partial
from math import exp, lgamma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.algorithms.curriculum import difficulty_weights, refreshed, signal_chance, usual_rate

COUNTS = st.integers(0, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


@given(count=COUNTS, group=st.integers(2, 16), usual=st.sampled_from([0.1, 0.5, 0.8]))
def test_the_chance_is_the_average_over_the_posterior(count: tuple[int, int], group: int, usual: float) -> None:
    solved, attempts = count
    a, b = 2 * usual + solved, 2 * (1 - usual) + attempts - solved
    wanted = 1 - exp(log_beta(a + group, b) - log_beta(a, b)) - exp(log_beta(a, b + group) - log_beta(a, b))
    assert signal_chance([solved], [attempts], group_size=group, usual=usual)[0] == pytest.approx(
        wanted, rel=1e-6, abs=1e-9
    )


def test_half_solved_is_preferred_and_solved_and_hopeless_are_alike() -> None:
    none, half, every = signal_chance([0, 10, 20], [20, 20, 20], group_size=8)
    assert half > 0.95 and none == pytest.approx(every) and none < 0.35
    new = signal_chance([0], [0], group_size=8)[0]
    assert none < new < half


def test_where_little_is_solved_what_was_solved_once_comes_before_what_was_never_tried() -> None:
    solved, attempts = [1, *[0] * 9, 0], [4, *[4] * 9, 0]
    weights = difficulty_weights(solved, attempts, group_size=8, floor=0.0)
    assert weights[0] > 2 * weights[-1] > 2 * weights[1]
    assert usual_rate([], []) == 0.5 and usual_rate([0, 0], [10, 0]) == pytest.approx(1 / 3)


@given(st.lists(COUNTS, min_size=1, max_size=20), st.sampled_from([0.0, 0.1, 1.0]))
def test_weights_sum_to_one_and_nobody_is_forgotten(counts: list[tuple[int, int]], floor: float) -> None:
    solved, attempts = zip(*counts, strict=True)
    weights = difficulty_weights(solved, attempts, group_size=8, floor=floor)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= floor / len(counts) - 1e-12).all()
    if floor == 1.0:
        np.testing.assert_allclose(weights, 1 / len(counts))


def test_golubevs_refresh() -> None:
    solved, attempts = [2, 1, 0, 3, 0, 19], [3, 3, 3, 3, 0, 30]
    assert refreshed(solved, attempts).tolist() == [False, True, False, False, True, True]
    assert refreshed(solved, attempts, tries=10).tolist() == [True, True, True, True, True, True]
    assert refreshed([20], [30]).tolist() == [False]


def test_counts_that_cannot_be_are_refused() -> None:
    for function in (
        refreshed,
        usual_rate,
        partial(signal_chance, group_size=8),
        partial(difficulty_weights, group_size=8),
    ):
        for solved, attempts in (([2], [1]), ([-1], [1]), ([1], [1, 2])):
            with pytest.raises(ValueError, match="solved must lie"):
                function(solved, attempts)  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match="group_size"):
        signal_chance([1], [1], group_size=1)
    with pytest.raises(ValueError, match="usual"):
        signal_chance([1], [1], group_size=2, usual=0.0)
    with pytest.raises(ValueError, match="floor"):
        difficulty_weights([1], [1], group_size=2, floor=2.0)
    with pytest.raises(ValueError, match="no tasks"):
        difficulty_weights([], [], group_size=2)
