"""Sums along the turns of trajectories, all trajectories at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from repodojo.algorithms.advantages.groups import Floats


def following(trajectory_B: NDArray[np.intp]) -> NDArray[np.intp]:
    """[B] index of the next turn of the same trajectory, -1 after the last. Rows are in the order of time."""
    order_B = np.argsort(trajectory_B, kind="stable")
    next_B = np.full(len(trajectory_B), -1, dtype=np.intp)
    same = trajectory_B[order_B[1:]] == trajectory_B[order_B[:-1]]
    next_B[order_B[:-1][same]] = order_B[1:][same]
    return next_B


def discounted(values_B: Floats, next_B: NDArray[np.intp], decay: float) -> Floats:
    """y_k = x_k + decay * y_(k+1) along each trajectory; one vectorised pass a turn, last turns first."""
    out_B = values_B.copy()
    previous_B = np.full(len(values_B), -1, dtype=np.intp)
    has_next = next_B >= 0
    previous_B[next_B[has_next]] = np.flatnonzero(has_next)
    here = previous_B[~has_next]
    while (here := here[here >= 0]).size:
        out_B[here] += decay * out_B[next_B[here]]
        here = previous_B[here]
    return out_B
