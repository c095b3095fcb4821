"""Which tasks are worth playing: against a direct average over what is believed of them, and Golubev's rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.algorithms.curriculum import difficulty_weights, refreshed, signal_chance

COUNTS = st.integers(0, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(count=COUNTS, group=st.integers(2, 16))
def test_the_chance_is_the_average_over_the_posterior(count: tuple[int, int], group: int) -> None:
    solved, attempts = count
    p = (np.arange(200_000) + 0.5) / 200_000
    density = p**solved * (1 - p) ** (attempts - solved)
    wanted = (density * (1 - p**group - (1 - p) ** group)).sum() / density.sum()
    assert signal_chance([solved], [attempts], group_size=group)[0] == pytest.approx(wanted, rel=1e-4)


def test_half_solved_is_preferred_and_solved_and_hopeless_are_alike() -> None:
    none, half, every = signal_chance([0, 10, 20], [20, 20, 20], group_size=8)
    assert half > 0.95 and none == pytest.approx(every) and none < 0.35
    new = signal_chance([0], [0], group_size=8)[0]
    assert none < new < half


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
    for function in (refreshed, lambda s, a: signal_chance(s, a, group_size=8)):
        for solved, attempts in (([2], [1]), ([-1], [1]), ([1], [1, 2])):
            with pytest.raises(ValueError, match="solved must lie"):
                function(solved, attempts)  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match="group_size"):
        signal_chance([1], [1], group_size=1)
    with pytest.raises(ValueError, match="floor"):
        difficulty_weights([1], [1], group_size=2, floor=2.0)
    with pytest.raises(ValueError, match="no tasks"):
        difficulty_weights([], [], group_size=2)
