"""Tapered off-policy REINFORCE (TOPR, arXiv 2503.14286)."""

from __future__ import annotations

import torch
from torch import Tensor

from repodojo.algorithms.losses.clip import Clipped, ratio_of


def topr(logprobs_A: Tensor, old_A: Tensor, advantages_A: Tensor) -> Clipped:
    """A > 0: -A log pi;  A < 0: -stopgrad(clip(rho, 0, 1)) A log pi.

    Good tokens are learned however unlikely they have become; bad ones are pushed down less the rarer they are.
    """
    ratio_A = ratio_of(logprobs_A - old_A).detach()
    bad_A = advantages_A < 0
    weight_A = torch.where(bad_A, ratio_A.clamp(max=1.0), torch.ones_like(ratio_A))
    return Clipped(-weight_A * advantages_A * logprobs_A, ratio_A, bad_A & (ratio_A > 1.0))
