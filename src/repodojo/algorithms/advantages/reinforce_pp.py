"""REINFORCE++ with a group baseline (arXiv 2501.03262)."""

from __future__ import annotations

from typing import Any

import numpy as np

from repodojo.algorithms.advantages.groups import Rewards, like, read


def reinforce_pp(rewards: Rewards, group: Any, *, eps: float = 1e-6) -> Rewards:
    """x = r - mean of its group, then (x - mean(x)) / (std(x) + eps) over the whole batch.

    Differs from GRPO in that hard and easy groups keep their own scale. Every TRAJECTORY counts once in the whitening
    (implementations that whiten over tokens let long ones count more); std is the sample one. A singleton gets 0.
    `rewards` and the integer `group` have one length B. ValueError for rewards that are not finite.
    """
    x_B = read(rewards, group).deviations()
    if x_B.size < 2:
        return like(rewards, np.zeros_like(x_B))
    return like(rewards, (x_B - x_B.mean()) / (x_B.std(ddof=1) + eps))
