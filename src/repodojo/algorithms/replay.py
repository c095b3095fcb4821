"""Playing kept trajectories again, by priority and corrected so that the expected gradient stays what it was."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from repodojo.algorithms.advantages.groups import Floats, array


class Drawn(NamedTuple):
    """index_B: which of N kept ones;  weight_B: factor on the loss of each, 1 / (N P)."""

    index_B: NDArray[np.intp]
    weight_B: Floats


def chances(
    signal: Any, staleness: Any, *, sharpness: float = 0.6, decay: float = 0.5, oldest: int = 8, eps: float = 1e-3
) -> Floats:
    """P [N] of being drawn: proportional to (|signal| + eps)^sharpness * decay^staleness, 0 beyond `oldest` versions.

    signal: what a trajectory still has to teach, for instance its advantage (Schaul et al., arXiv 1511.05952, take the
    error of a critic);  staleness: policy versions since it was sampled. ValueError for numbers that are not finite,
    a negative staleness, and where all are too old.
    """
    signal_N, age_N = (array(x).astype(np.float64) for x in (signal, staleness))
    if signal_N.shape != age_N.shape or not np.isfinite(signal_N).all() or not (age_N >= 0).all():
        raise ValueError("signal must be finite and staleness 0 or more, one of each a trajectory")
    if sharpness < 0 or not 0 < decay <= 1 or eps <= 0:
        raise ValueError("sharpness must be 0 or more, decay in (0, 1], eps above 0")
    priority_N = np.where(age_N <= oldest, (np.abs(signal_N) + eps) ** sharpness * decay**age_N, 0.0)
    if not priority_N.any():
        raise ValueError(f"nothing is kept that is at most {oldest} versions old")
    relative_N = priority_N / priority_N.max()  # equal priorities are exactly 1 each
    chance_N: Floats = relative_N / relative_N.sum()
    return chance_N


def draw(chance: Any, count: int, *, u: float) -> Drawn:
    """`count` draws by systematic sampling from one uniform `u` in [0, 1), with weights 1 / (N P).

    Item i comes floor or ceil of count * P_i times, count * P_i in the mean over u, so the weighted mean of any
    quantity is unbiased for the plain mean over what may be drawn. Equal chances and count = N give every item once, in
    order, with weight exactly 1: replay then changes nothing. N counts items with a chance above 0.
    """
    chance_N = array(chance).astype(np.float64)
    if count < 1 or not 0 <= u < 1 or (chance_N < 0).any() or not np.isclose(chance_N.sum(), 1.0):
        raise ValueError("give chances that sum to 1, a count of 1 or more, and u in [0, 1)")
    possible = int((chance_N > 0).sum())
    relative_N = chance_N / chance_N.max()
    edges_N = np.cumsum(relative_N) * (count / relative_N.sum())
    edges_N[np.flatnonzero(chance_N)[-1] :] = count
    steps_B = np.arange(count, dtype=np.float64)
    # a sum that is rounded up to the next step stays below it
    place_B = np.minimum(steps_B + u, np.nextafter(steps_B + 1, 0))
    index_B = np.searchsorted(edges_N, place_B, side="right")
    weight_B: Floats = relative_N.sum() / (possible * relative_N[index_B])
    return Drawn(index_B, weight_B)
