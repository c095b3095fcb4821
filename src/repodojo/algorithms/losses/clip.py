"""The clipped policy loss of PPO (arXiv 1707.06347), with DAPO's asymmetric bounds (2503.14476) and the dual clip."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LOG_RATIO_LIMIT = 20.0
"""exp of a larger log ratio would overflow or dominate; reference implementations clamp here too."""


class Clipped(NamedTuple):
    """loss_A to minimise; ratio_A = pi / pi_old (detached); clipped_A: where a bound bites."""

    loss_A: Tensor
    ratio_A: Tensor
    clipped_A: Tensor


def ratio_of(log_ratio_A: Tensor) -> Tensor:
    """exp of a log ratio, clamped to +-20."""
    return log_ratio_A.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def ppo_clip(
    logprobs_A: Tensor,
    old_A: Tensor,
    advantages_A: Tensor,
    *,
    low: float = 0.2,
    high: float = 0.2,
    dual: float | None = None,
) -> Clipped:
    """max(-rho A, -clip(rho, 1 - low, 1 + high) A) for each of A tokens, rho = exp(logprobs - old).

    dual: for A < 0 additionally min(..., -dual A) (arXiv 1912.09729), which bounds the loss of a bad token that the
    policy has meanwhile made much likelier. 3 is usual, 10 in DAPO recipes.
    """
    return clip_ratio(ratio_of(logprobs_A - old_A), advantages_A, low=low, high=high, dual=dual)


def clip_ratio(ratio_A: Tensor, advantages_A: Tensor, *, low: float, high: float, dual: float | None = None) -> Clipped:
    """The same for a ratio that is given, of tokens or of sequences."""
    plain = -ratio_A * advantages_A
    bounded = -ratio_A.clamp(1 - low, 1 + high) * advantages_A
    loss = torch.maximum(plain, bounded)
    clipped = bounded > plain
    if dual is not None:
        ceiling = -dual * advantages_A
        cut = (advantages_A < 0) & (loss > ceiling)
        loss, clipped = torch.where(cut, ceiling, loss), clipped | cut
    return Clipped(loss, ratio_A.detach(), clipped.detach())
