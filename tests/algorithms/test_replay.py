"""Replay: equal priorities change nothing at all, others change no expectation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.algorithms.replay import chances, draw

SIGNALS = st.lists(st.floats(-5, 5), min_size=1, max_size=12)


@given(n=st.integers(1, 300), signal=st.floats(-5, 5), u=st.floats(0, 1, exclude_max=True))
def test_equal_priorities_and_no_staleness_change_nothing(n: int, signal: float, u: float) -> None:
    drawn = draw(chances([signal] * n, [0] * n), n, u=u)
    assert drawn.index_B.tolist() == list(range(n))  # every one once, in order
    assert (drawn.weight_B == 1.0).all()  # to the bit


@settings(max_examples=40, deadline=None)
@given(signal=SIGNALS, seed=st.integers(0, 99), count=st.integers(1, 30))
def test_the_weighted_mean_is_unbiased(signal: list[float], seed: int, count: int) -> None:
    """The integral over u is exact: between two fractional parts of the items' edges nothing changes."""
    rng = np.random.default_rng(seed)
    ages = rng.integers(0, 10, len(signal))
    ages[0] = 0
    chance, value = chances(signal, ages), rng.normal(size=len(signal))
    cuts = np.unique([0.0, 1.0, *(np.cumsum(chance) * count % 1.0).round(12)])
    middles, widths = (cuts[1:] + cuts[:-1]) / 2, np.diff(cuts)
    every = [draw(chance, count, u=float(u)) for u in middles]
    found = sum(w * (d.weight_B * value[d.index_B]).mean() for w, d in zip(widths, every, strict=True))
    assert found == pytest.approx(value[chance > 0].mean(), abs=1e-6)


@given(signal=SIGNALS, count=st.integers(1, 30), u=st.floats(0, 1, exclude_max=True))
def test_each_comes_floor_or_ceil_of_its_share(signal: list[float], count: int, u: float) -> None:
    chance = chances(signal, [0] * len(signal))
    times = np.bincount(draw(chance, count, u=u).index_B, minlength=len(signal))
    assert times.sum() == count
    assert (np.abs(times - count * chance) < 1 + 1e-9).all()


def test_more_to_learn_and_fresher_comes_first_and_the_old_never() -> None:
    chance = chances([1.0, 0.01, 1.0, 1.0], [0, 0, 2, 9])
    assert chance[0] > chance[2] > chance[1] > chance[3] == 0
    assert chance[2] == pytest.approx(chance[0] / 4)
    drawn = draw(chance, 50, u=0.3)
    assert 3 not in drawn.index_B
    assert drawn.weight_B.max() == pytest.approx(1 / (3 * chance[1]))


def test_input_that_does_not_fit_is_refused() -> None:
    for signal, age in (([np.nan], [0]), ([1.0], [-1]), ([1.0], [0, 1])):
        with pytest.raises(ValueError, match="finite"):
            chances(signal, age)
    with pytest.raises(ValueError, match="at most 8 versions"):
        chances([1.0], [9])
    for options in ({"sharpness": -1.0}, {"decay": 0.0}, {"eps": 0.0}):
        with pytest.raises(ValueError, match="sharpness"):
            chances([1.0], [0], **options)
    for chance, count, u in (([0.5], 1, 0.0), ([1.0], 0, 0.0), ([1.0], 1, 1.0), ([1.5, -0.5], 1, 0.0)):
        with pytest.raises(ValueError, match="sum to 1"):
            draw(chance, count, u=u)
