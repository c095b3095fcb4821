"""Advantages around the densest part of a group's rewards (GAPO, arXiv 2510.21830)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from repodojo.algorithms.advantages.groups import Floats, Groups, Rewards, like, read

Centre = Literal["median", "mean"]


class BinaryRewardWarning(UserWarning):
    """GAPO was given rewards of two values, on which it degenerates."""


@dataclass(frozen=True)
class Interval:
    """Of each of K groups: the bounds of its narrowest window of k rewards, and the window's centre Q."""

    low_K: Floats
    high_K: Floats
    centre_K: Floats
    members_K: NDArray[np.intp]


def gapo(
    rewards: Rewards,
    group: Any,
    *,
    tau: float = 0.5,
    centre: Centre = "median",
    normalise: bool = True,
    eps: float = 1e-6,
) -> Rewards:
    """(r - Q) / (D + eps): Q is the centre of the highest-density interval, D = sqrt(sum (r_j - Q)^2 / (n - 1)).

    The interval holds k = ceil(n tau) of the group's n sorted rewards and is the narrowest such window, the lowest of
    several; D runs over ALL members. Outliers move a mean and a std, and hardly Q. `normalise` False gives r - Q. The
    advantages of a group need not sum to 0; a singleton and a group of equal rewards get 0.

    `rewards` and the integer `group` have one length B. ValueError for rewards that are not finite, tau outside (0, 1]
    and an unknown centre. Rewards of two values only draw a BinaryRewardWarning: Q is then one of the two, so either
    all successes or all failures of a group get exactly 0.
    """
    groups = read(rewards, group)
    if _two_values(groups.values_B):
        text = (
            "GAPO on a binary reward: all successes or all failures of a group get 0; use a continuous reward, or grpo"
        )
        warnings.warn(text, BinaryRewardWarning, stacklevel=2)
    deviation_B = groups.values_B - interval(groups, tau, centre).centre_K[groups.group_B]
    if normalise:
        deviation_B /= (groups.spread(deviation_B) + eps)[groups.group_B]
    return like(rewards, deviation_B)


def interval(groups: Groups, tau: float = 0.5, centre: Centre = "median") -> Interval:
    """The highest-density interval of each group."""
    if not 0 < tau <= 1:
        raise ValueError(f"tau is {tau}, it must lie in (0, 1]")
    if centre not in ("median", "mean"):
        raise ValueError(f"centre is {centre!r}, it must be 'median' or 'mean'")
    order_B, start_K = groups.order()
    sorted_B = groups.values_B[order_B]
    owner_B = groups.group_B[order_B]
    k_K = window_size(groups.size_K, tau)
    last_B = np.arange(len(sorted_B)) + k_K[owner_B] - 1
    fits_B = last_B < (start_K + groups.size_K)[owner_B]
    last_B = np.where(fits_B, last_B, 0)
    width_B = np.where(fits_B, sorted_B[last_B] - sorted_B, np.inf)
    if not len(start_K):
        return Interval(sorted_B, sorted_B, sorted_B, k_K)
    narrowest_B = np.minimum.reduceat(width_B, start_K)[owner_B]
    candidates_B = np.where(width_B == narrowest_B, np.arange(len(sorted_B)), len(sorted_B))
    first_K = np.minimum.reduceat(candidates_B, start_K)
    if centre == "median":
        centre_K = (sorted_B[first_K + (k_K - 1) // 2] + sorted_B[first_K + k_K // 2]) / 2
    else:
        # less the lowest of the window, so that equal rewards have exactly their own value as mean
        offset_B = np.append(sorted_B - sorted_B[first_K][owner_B], 0.0)
        sums = np.add.reduceat(offset_B, np.stack([first_K, first_K + k_K], 1).ravel())[::2]
        centre_K = sorted_B[first_K] + sums / k_K
    return Interval(sorted_B[first_K], sorted_B[first_K + k_K - 1], centre_K, k_K)


def window_size(size_K: NDArray[np.intp], tau: float) -> NDArray[np.intp]:
    """k = ceil(n tau), at least 1, for decimal tau: 0.55 * 100 is 55.00000000000001 in floats, and k must be 55."""
    k_K: NDArray[np.intp] = np.maximum(np.ceil(size_K * tau * (1 - 1e-12)), 1).astype(np.intp)
    return k_K


def _two_values(values_B: Floats) -> bool:
    if not values_B.size:
        return False
    low, high = values_B.min(), values_B.max()
    return bool(low < high and ((values_B == low) | (values_B == high)).all() and values_B.size > 2)
