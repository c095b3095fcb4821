"""Weights for tokens that another policy than pi_old sampled: a stale one, or the same in another number format."""

from __future__ import annotations

from torch import Tensor


def tis_weight(old_A: Tensor, rollout_A: Tensor, *, cap: float = 2.0) -> Tensor:
    """Truncated importance sampling: min(pi_old / pi_rollout, cap) for each token, detached.

    ValueError for a cap that is not positive.
    """
    if cap <= 0:
        raise ValueError(f"cap is {cap}, it must be above 0")
    return (old_A - rollout_A).detach().clamp(-20.0, 20.0).exp().clamp(max=cap)
