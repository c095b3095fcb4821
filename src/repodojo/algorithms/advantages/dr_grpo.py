"""GRPO without its division by the spread (Dr. GRPO, arXiv 2503.20783)."""

from __future__ import annotations

from typing import Any

from repodojo.algorithms.advantages.groups import Rewards, like, read


def dr_grpo(rewards: Rewards, group: Any) -> Rewards:
    """r - mean within each group; a singleton gets 0.

    `rewards` and the integer `group` have one length B. ValueError for rewards that are not finite.
    """
    return like(rewards, read(rewards, group).deviations())
