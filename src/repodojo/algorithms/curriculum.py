"""Which tasks to play: those whose groups are likely to hold a signal, and none that has nothing left to teach."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from repodojo.algorithms.advantages.groups import Floats, array


def signal_chance(solved: Any, attempts: Any, *, group_size: int, usual: float = 0.5) -> Floats:
    """Chance [K] that a group of G holds both a success and a failure, given `solved` of `attempts` so far.

    E[1 - p^G - (1 - p)^G] with p ~ Beta(2 usual + solved, 2 (1 - usual) + failed): a task never tried counts as any
    (with `usual` 1/2), or as a usual one, one tried often and half solved comes near 1, one always or never solved
    falls with every attempt. ValueError for counts that cannot be, for a group below two and `usual` outside (0, 1).
    """
    solved_K, attempts_K = _counts(solved, attempts)
    if group_size < 2:
        raise ValueError(f"group_size is {group_size}: one alone has nothing to be compared with")
    if not 0 < usual < 1:
        raise ValueError(f"usual is {usual}, it must lie between 0 and 1")
    a_K, b_K = 2 * usual + solved_K, 2 * (1 - usual) + attempts_K - solved_K
    further = np.arange(group_size)[:, None]  # E[p^G] is the product of (a + i) / (a + b + i) over i < G
    all_solved_K = ((a_K + further) / (a_K + b_K + further)).prod(0)
    all_failed_K = ((b_K + further) / (a_K + b_K + further)).prod(0)
    chance_K: Floats = 1 - all_solved_K - all_failed_K
    return chance_K


def difficulty_weights(solved: Any, attempts: Any, *, group_size: int, floor: float = 0.1) -> Floats:
    """Sampling weights [K] that sum to 1: proportional to the chance of a signal, none below `floor` / K.

    The floor keeps every task in play, so that one that has become solvable, or was forgotten, is found out. 1 is
    uniform. What is known of the tasks that were tried says what is usual for the others (empirical Bayes): where few
    are solved, a task that was solved once is worth more than one never tried. ValueError as in `signal_chance`, for
    floor outside [0, 1], and for no tasks.
    """
    if not 0 <= floor <= 1:
        raise ValueError(f"floor is {floor}, it must lie in [0, 1]")
    chance_K = signal_chance(solved, attempts, group_size=group_size, usual=usual_rate(solved, attempts))
    if not chance_K.size:
        raise ValueError("no tasks to choose from")
    weights_K: Floats = floor / chance_K.size + (1 - floor) * chance_K / chance_K.sum()
    return weights_K


def usual_rate(solved: Any, attempts: Any) -> float:
    """Mean solve rate of the tasks that were tried, each counting once, between a success and a failure added.

    ValueError for counts that cannot be.

    >>> usual_rate([1, 0, 0], [4, 4, 0])
    0.3125
    """
    solved_K, attempts_K = _counts(solved, attempts)
    tried_K = attempts_K > 0
    return float((1 + (solved_K[tried_K] / attempts_K[tried_K]).sum()) / (2 + tried_K.sum()))


def refreshed(solved: Any, attempts: Any, *, too_easy: float = 2 / 3, tries: int = 1) -> NDArray[np.bool_]:
    """[K] True for tasks to keep: not solved in `too_easy` or more of all their attempts, and solved at least once.

    Golubev et al. (arXiv 2508.03501) chose the 2,028 tasks of their stage 2 so. A task with fewer than `tries` attempts
    stays: nothing is known of it. ValueError for counts that cannot be.
    """
    solved_K, attempts_K = _counts(solved, attempts)
    known_K = attempts_K >= max(tries, 1)
    # multiplied out, and with room for the last bit: 2 of 3 is 2/3
    easy_K = solved_K >= too_easy * attempts_K - 1e-9
    keep_K: NDArray[np.bool_] = ~known_K | (~easy_K & (solved_K > 0))
    return keep_K


def _counts(solved: Any, attempts: Any) -> tuple[Floats, Floats]:
    solved_K, attempts_K = (array(x).astype(np.float64) for x in (solved, attempts))
    if solved_K.shape != attempts_K.shape or (solved_K < 0).any() or (solved_K > attempts_K).any():
        raise ValueError("solved must lie in 0..attempts, one of each a task")
    return solved_K, attempts_K
