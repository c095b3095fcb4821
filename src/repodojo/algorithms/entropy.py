"""An entropy bonus that holds a target instead of a fixed weight (Skywork-OR1, arXiv 2505.22312)."""

from __future__ import annotations

from typing import NamedTuple


class EntropyBonus(NamedTuple):
    """coefficient: what the controller stands at;  applied: the alpha of L -= alpha H in the next step."""

    coefficient: float
    applied: float


def adapt(coefficient: float, entropy: float, *, target: float, step: float) -> EntropyBonus:
    """The coefficient rises by `step` while H <= target and falls by it otherwise, never below 0.

    The bonus is paid only while H <= target: above it, sampling explores enough by itself. entropy, target: nats a
    token. ValueError for a step that is not positive.
    """
    if step <= 0:
        raise ValueError(f"step is {step}, it must be above 0")
    low = entropy <= target
    moved = max(coefficient + (step if low else -step), 0.0)
    return EntropyBonus(moved, moved if low else 0.0)
