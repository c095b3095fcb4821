"""Scores that honesty maximises, and calibration by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.algorithms.confidence import FLOOR, brier_score, calibration, log_score

CHANCE = st.integers(1, 99).map(lambda n: n / 100)


@given(true=CHANCE, stated=CHANCE)
def test_honesty_pays_best(true: float, stated: float) -> None:
    for score in (brier_score, log_score):
        honest, other = (true * score([q], [1])[0] + (1 - true) * score([q], [0])[0] for q in (true, stated))
        assert honest >= other - 1e-12
        assert stated == true or honest > other


def test_scores_by_hand() -> None:
    assert brier_score([1.0, 0.0, 0.5], [1, 0, 1]).tolist() == [1.0, 1.0, 0.75]
    assert log_score([0.5, 0.0], [True, True]) == pytest.approx([math.log(0.5), math.log(FLOOR)])


def test_calibration_by_hand() -> None:
    found = calibration([0.9, 0.9, 0.9, 0.1], [1, 1, 0, 0], bins=10)
    assert found.ece == pytest.approx(0.75 * (0.9 - 2 / 3) + 0.25 * 0.1)
    assert found.brier == pytest.approx((0.01 + 0.01 + 0.81 + 0.01) / 4)
    assert [(b.episodes, round(b.stated, 3)) for b in found.bins] == [(1, 0.1), (3, 0.9)]
    assert calibration([1.0, 0.0], [1, 0]).ece == 0.0


def test_a_calibrated_crowd_has_a_small_error_and_a_boastful_one_has_not() -> None:
    rng = np.random.default_rng(0)
    true = rng.random(20_000)
    outcome = (rng.random(20_000) < true).astype(int)
    assert calibration(true, outcome).ece < 0.01
    assert calibration(np.ones_like(true), outcome).ece == pytest.approx(0.5, abs=0.02)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=30), st.integers(1, 12))
def test_bins_hold_everyone(pairs: list[tuple[float, int]], bins: int) -> None:
    stated, solved = zip(*pairs, strict=True)
    found = calibration(stated, solved, bins=bins)
    assert sum(b.episodes for b in found.bins) == len(pairs) and 0 <= found.ece <= 1
    assert found.brier == pytest.approx(1 - brier_score(stated, solved).mean())


def test_what_is_no_probability_or_outcome_is_refused() -> None:
    for stated, solved in (([1.1], [1]), ([math.nan], [1]), ([0.5], [1, 0])):
        with pytest.raises(ValueError, match="lie in"):
            brier_score(stated, solved)
    with pytest.raises(ValueError, match="solved or not"):
        log_score([0.5], [0.5])
    with pytest.raises(ValueError, match="at least one"):
        calibration([], [])
