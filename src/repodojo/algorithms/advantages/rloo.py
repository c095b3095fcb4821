"""Leave-one-out advantages (RLOO, arXiv 2402.14740; the baseline of LOOP, arXiv 2502.01600)."""

from __future__ import annotations

from typing import Any

from repodojo.algorithms.advantages.groups import Rewards, like, read


def rloo(rewards: Rewards, group: Any) -> Rewards:
    """r_i less the mean of the others of its group, which is G / (G - 1) (r_i - mean).

    `rewards` and the integer `group` have one length B. ValueError for rewards that are not finite, and for a group of
    one: it has no baseline, and 0 would pass silently for a signal.
    """
    groups = read(rewards, group)
    if (groups.size_K < 2).any():
        raise ValueError(f"{int((groups.size_K < 2).sum())} groups have one member: leave-one-out needs two or more")
    others_B = (groups.size_K - 1)[groups.group_B]
    return like(rewards, groups.deviations() * (groups.size_K[groups.group_B] / others_B))


loop = rloo
"""The name that LOOP (arXiv 2502.01600) gives it."""
