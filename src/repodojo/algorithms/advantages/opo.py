"""Optimal baseline weighted by length (OPO, arXiv 2505.23585)."""

from __future__ import annotations

from typing import Any

from repodojo.algorithms.advantages.groups import Rewards, like, numbers, read


def opo(rewards: Rewards, group: Any, *, lengths: Any) -> Rewards:
    """r less the baseline sum(length * r) / sum(length) of its group; a singleton gets 0.

    The baseline of least variance if the squared norm of a trajectory's gradient grows with its length (in tokens
    that are trained on). `rewards`, the integer `group` and `lengths` have one length B. ValueError for rewards that
    are not finite, for a length below 0, and for a group whose lengths are all 0.
    """
    groups = read(rewards, group)
    length_B = numbers(lengths, groups.values_B, "lengths")
    total_K = groups.sum(length_B)
    if (length_B < 0).any() or (total_K <= 0).any():
        raise ValueError("lengths must be 0 or more, and above 0 for some member of each group")
    baseline_K = groups.sum(length_B * groups.centred_B) / total_K
    return like(rewards, groups.centred_B - baseline_K[groups.group_B])
