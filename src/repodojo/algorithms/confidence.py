"""An agent's stated probability that its work is right: scores that honesty maximises, and how honest it was."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from repodojo.algorithms.advantages.groups import Floats, array

FLOOR = 0.01
"""Stated probabilities are moved this far from 0 and 1 for the logarithmic score, which is bounded so."""

LOWEST = math.log(FLOOR)


class Bin(NamedTuple):
    """Episodes that stated a probability in [low, high): how many, their mean statement, the share that was solved."""

    low: float
    high: float
    episodes: int
    stated: float
    solved: float


class Calibration(NamedTuple):
    """How honest statements were.

    ece: expected calibration error, the mean over episodes of |stated - solved| of their bin (arXiv 1706.04599)
    brier: mean of (stated - outcome)^2 (Brier 1950)
    """

    ece: float
    brier: float
    bins: tuple[Bin, ...]


def brier_score(stated: Any, solved: Any) -> Floats:
    """1 - (stated - outcome)^2, [B] in [0, 1]. Proper: its mean is highest where `stated` is the true chance."""
    stated_B, outcome_B = _checked(stated, solved)
    score_B: Floats = 1 - (stated_B - outcome_B) ** 2
    return score_B


def log_score(stated: Any, solved: Any) -> Floats:
    """log of the probability that was given to what happened, [B], 0 at best, log(FLOOR) at worst; proper.

    Beside the Brier score it punishes certainty that was wrong much harder.
    """
    stated_B, outcome_B = _checked(stated, solved)
    kept_B = np.clip(stated_B, FLOOR, 1 - FLOOR)
    score_B: Floats = np.where(outcome_B == 1, np.log(kept_B), np.log1p(-kept_B))
    return score_B


def penalty(stated: Any, solved: Any, *, score: Literal["brier", "log"] = "brier") -> Floats:
    """A proper score moved to [-1, 0], [B]; whoever said nothing (NaN) is taken to have said 0.5.

    brier: -(stated - outcome)^2;  log: the logarithmic score over its worst.
    """
    said_B = np.nan_to_num(array(stated).astype(np.float64), nan=0.5)
    found_B: Floats = brier_score(said_B, solved) - 1 if score == "brier" else log_score(said_B, solved) / -LOWEST
    return found_B


def calibration(stated: Any, solved: Any, *, bins: int = 10) -> Calibration:
    """ECE over bins of equal width, and the Brier score; ValueError where nothing was stated."""
    stated_B, outcome_B = _checked(stated, solved)
    if not stated_B.size or bins < 1:
        raise ValueError("calibration needs at least one statement and one bin")
    place_B = np.minimum((stated_B * bins).astype(np.intp), bins - 1)
    found = []
    for k in np.unique(place_B).tolist():
        here = place_B == k
        mean = float(stated_B[here].mean())
        found.append(Bin(k / bins, (k + 1) / bins, int(here.sum()), mean, float(outcome_B[here].mean())))
    ece = sum(b.episodes * abs(b.stated - b.solved) for b in found) / stated_B.size
    return Calibration(ece, float(((stated_B - outcome_B) ** 2).mean()), tuple(found))


def _checked(stated: Any, solved: Any) -> tuple[Floats, Floats]:
    stated_B, outcome_B = (array(x).astype(np.float64) for x in (stated, solved))
    if stated_B.shape != outcome_B.shape or not ((stated_B >= 0) & (stated_B <= 1)).all():
        raise ValueError("stated probabilities must lie in [0, 1], one for each outcome")
    if not np.isin(outcome_B, (0.0, 1.0)).all():
        raise ValueError("an outcome is solved or not: 1 or 0")
    return stated_B, outcome_B
