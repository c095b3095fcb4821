"""Credit for the best of a group only (the Pass@k objective, arXiv 2503.19595)."""

from __future__ import annotations

from typing import Any

import numpy as np

from repodojo.algorithms.advantages.groups import Rewards, like, read


def pass_at_k(rewards: Rewards, group: Any, *, eps: float = 1e-6) -> Rewards:
    """The best of each group gets (r_max - r_2nd) / (std + eps), all others 0: what the group would lose without it.

    So a tie for the best is worth nothing, and neither is a singleton. std is the sample one. `rewards` and the integer
    `group` have one length B. ValueError for rewards that are not finite.
    """
    groups = read(rewards, group)
    out_B = np.zeros_like(groups.values_B)
    order_B, start_K = groups.order()
    several_K = groups.size_K > 1
    last_K = (start_K + groups.size_K - 1)[several_K]
    best, second = order_B[last_K], order_B[last_K - 1]
    spread_K = groups.spread(groups.deviations())[several_K]
    out_B[best] = (groups.values_B[best] - groups.values_B[second]) / (spread_K + eps)
    return like(rewards, out_B)
