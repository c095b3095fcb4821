"""pass@k, pass^k, and 95% intervals that treat the task, not the episode, as the unit of chance.

Episodes of one task resemble each other, so counting them as independent would make intervals far too narrow (with
8 tries a task, by up to a factor of sqrt(8)). Everything here is first reduced to one number a task; the interval is
the percentile bootstrap over tasks (Efron 1979) with 2,000 resamples. Chosen over the analytic cluster-robust
interval because it stays within [0, 1] and serves pass@8 and paired differences alike; tests measure its coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
RESAMPLES = 2000
CHUNK = 4_000_000  # resampled numbers held at once


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k tries drawn without replacement from n, c of them passing, passes.

    1 - C(n-c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374), in exact integers up to one rounding.
    ValueError where it is undefined: n < k, or c outside 0..n.

    >>> pass_at_k(8, 2, 1), pass_at_k(8, 2, 8)
    (0.25, 1.0)
    """
    _check(n, c, k)
    every = math.comb(n, k)
    return (every - math.comb(n - c, k)) / every


def pass_hat_k(n: int, c: int, k: int) -> float:
    """Chance that all of k tries drawn without replacement pass: C(c, k) / C(n, k) (tau-bench, arXiv 2406.12045)."""
    _check(n, c, k)
    return math.comb(c, k) / math.comb(n, k)


def _check(n: int, c: int, k: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} is undefined with {n} tries")
    if not 0 <= c <= n:
        raise ValueError(f"{c} of {n} tries cannot pass")


def mean_interval(values: Sequence[float], *, seed: int, bounds: Interval = (-math.inf, math.inf)) -> Interval:
    """95% interval of the mean of one value a task (length T), by bootstrap over tasks.

    Where all values are equal the bootstrap would claim certainty. If they sit on a bound (0 or 1 for a rate) the
    exact binomial interval of T tasks is given instead: 0 of 100 is [0, 0.036]. ValueError on no values.
    """
    values_T = np.asarray(values, dtype=np.float64)
    if values_T.size == 0:
        raise ValueError("no task to take the mean of")
    if values_T.min() == values_T.max():
        return _certain(float(values_T[0]), values_T.size, bounds)
    low, high = np.percentile(_resampled_means(values_T, seed), [2.5, 97.5])
    return float(low), float(high)


def _certain(value: float, tasks: int, bounds: Interval) -> Interval:
    """Clopper-Pearson at its two ends, where it has a closed form."""
    width = (1 - 0.025 ** (1 / tasks)) * (bounds[1] - bounds[0])
    if value == bounds[0]:
        return value, value + width
    if value == bounds[1]:
        return value - width, value
    return (value, value) if tasks > 1 else bounds


def _resampled_means(values_T: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means of RESAMPLES draws of T tasks with replacement (length RESAMPLES), a bounded piece at a time."""
    rng = np.random.default_rng(seed)
    size = values_T.size
    rows = max(1, CHUNK // size)
    means = [
        values_T[rng.integers(0, size, (min(rows, RESAMPLES - start), size), dtype=np.int32)].mean(axis=1)
        for start in range(0, RESAMPLES, rows)
    ]
    return np.concatenate(means)
