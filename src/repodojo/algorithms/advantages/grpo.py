"""Group-relative advantages (GRPO, arXiv 2402.03300)."""

from __future__ import annotations

from typing import Any

from repodojo.algorithms.advantages.groups import Rewards, like, read


def grpo(rewards: Rewards, group: Any, *, eps: float = 1e-6) -> Rewards:
    """(r - mean) / (std + eps) within each group, std being the sample one (n - 1); a singleton gets 0.

    `rewards` and the integer `group` have one length B. ValueError for rewards that are not finite.
    """
    return like(rewards, read(rewards, group).normalised(eps))
