"""Which trajectories count: groups without signal, and episodes that a limit cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from repodojo.core.records import StopReason

Overlong = Literal["penalise", "mask", "drop"]
SignalBy = Literal["outcome", "score"]
CUT_OFF: frozenset[StopReason] = frozenset({"turns", "tokens", "context", "time"})
"""How an episode ends that met a limit."""


class Treatment(NamedTuple):
    """keep_B: stays in its group's baseline;  masked_B: its tokens are not trained on."""

    keep_B: NDArray[np.bool_]
    masked_B: NDArray[np.bool_]


def treat_overlong(mode: Overlong, stop_reasons: Sequence[StopReason]) -> Treatment:
    """What happens to episodes that a limit on context, turns, tokens or time cut off.

    penalise: nothing, the reward speaks;  mask: compact filtering (DeepSWE), the loss of the whole trajectory is masked
    but it stays in the baseline;  drop: it leaves before grouping.
    """
    cut_B = np.array([reason in CUT_OFF for reason in stop_reasons], dtype=bool)
    nothing = np.zeros_like(cut_B)
    if mode == "penalise":
        return Treatment(~nothing, nothing)
    return Treatment(~nothing, cut_B) if mode == "mask" else Treatment(~cut_B, nothing)


def with_signal(solved: Sequence[bool], group: Sequence[int]) -> NDArray[np.bool_]:
    """[B] True where the trajectory's group holds both a success and a failure.

    It looks at the BINARY outcome: with a shaped reward nearly every group has some spread.
    """
    solved_B = np.asarray(solved, dtype=bool)
    _, group_B, size_K = np.unique(np.asarray(group, dtype=np.int64), return_inverse=True, return_counts=True)
    successes_K = np.bincount(group_B, weights=solved_B, minlength=len(size_K))
    return ((successes_K > 0) & (successes_K < size_K))[group_B]


def with_spread(scores: Sequence[float], group: Sequence[int]) -> NDArray[np.bool_]:
    """[B] True where the scores of the trajectory's group differ, for tasks that pay by degree and not yes or no.

    Of scores without penalties: a penalty on length would give nearly every group some spread.
    """
    score_B = np.asarray(scores, dtype=np.float64)
    _, group_B, size_K = np.unique(np.asarray(group, dtype=np.int64), return_inverse=True, return_counts=True)
    low_K, high_K = np.full(len(size_K), np.inf), np.full(len(size_K), -np.inf)
    np.minimum.at(low_K, group_B, score_B)
    np.maximum.at(high_K, group_B, score_B)
    return (low_K < high_K)[group_B]
