"""Clipped importance weights instead of clipped updates (CISPO of MiniMax-M1, arXiv 2506.13585)."""

from __future__ import annotations

from torch import Tensor

from repodojo.algorithms.losses.clip import Clipped, ratio_of


def cispo(logprobs_A: Tensor, old_A: Tensor, advantages_A: Tensor, *, high: float = 0.2) -> Clipped:
    """-stopgrad(clip(rho, 0, 1 + high)) A log pi: every token keeps a gradient, its weight has an upper bound."""
    ratio_A = ratio_of(logprobs_A - old_A).detach()
    return Clipped(-ratio_A.clamp(max=1 + high) * advantages_A * logprobs_A, ratio_A, ratio_A > 1 + high)
