"""Weights for tokens that another policy than pi_old sampled: a stale one, or the same in another number format.

Each is a factor [A] on the tokens' losses, detached; w = pi_old / pi_rollout. A token that gets 0 still counts in the
denominators of the batch: a mask is a weight like any other, and changes nothing for other tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from repodojo.algorithms.losses.clip import ratio_of
from repodojo.algorithms.losses.sequences import sequence_mean, sequence_sum


def decoupled(old_A: Tensor, rollout_A: Tensor) -> Tensor:
    """w itself: decoupled PPO's w min(rho A, clip(rho) A) (AReaL, arXiv 2505.24298, which allows 4 to 8 versions)."""
    return ratio_of(old_A - rollout_A).detach()


def tis_weight(old_A: Tensor, rollout_A: Tensor, *, cap: float = 2.0) -> Tensor:
    """Truncated importance sampling: min(w, cap) for each token. ValueError for a cap that is not positive."""
    return decoupled(old_A, rollout_A).clamp(max=_positive(cap))


def icepop(old_A: Tensor, rollout_A: Tensor, *, low: float = 0.5, high: float = 5.0) -> Tensor:
    """w inside [low, high], else 0 (IcePop, arXiv 2510.18855): where two engines disagree, nothing is learned."""
    weight_A = decoupled(old_A, rollout_A)
    return _within(weight_A, weight_A, low, high)


def mis_token(old_A: Tensor, rollout_A: Tensor, *, cap: float = 2.0) -> Tensor:
    """Masked importance sampling by token: w up to cap, else 0. Truncation keeps such a token, with a biased weight."""
    weight_A = decoupled(old_A, rollout_A)
    return _within(weight_A, weight_A, 0.0, _positive(cap))


def mis_sequence(old_A: Tensor, rollout_A: Tensor, sample_A: Tensor, *, cap: float = 2.0) -> Tensor:
    """Masked importance sampling by sequence: the product of its tokens' w up to cap, else 0."""
    weight_A = ratio_of(sequence_sum(old_A - rollout_A, sample_A)[0]).detach()
    return _within(weight_A, weight_A, 0.0, _positive(cap))


def geometric(old_A: Tensor, rollout_A: Tensor, sample_A: Tensor, *, low: float = 0.99, high: float = 1.001) -> Tensor:
    """1 for sequences whose geometric mean of w lies within [low, high], else 0.

    A product of ratios drifts with the length of a sequence; its geometric mean does not.
    """
    mean_A = sequence_mean(old_A - rollout_A, sample_A).detach().exp()
    return _within(torch.ones_like(mean_A), mean_A, low, high)


def veto(old_A: Tensor, rollout_A: Tensor, sample_A: Tensor, *, bound: float = 1e-4) -> Tensor:
    """0 for sequences with any token's w below `bound`, else 1: such a token was not sampled by this policy at all."""
    broken_A = (decoupled(old_A, rollout_A) < bound).to(old_A.dtype)
    return (sequence_sum(broken_A, sample_A)[0] == 0).to(old_A.dtype)


def off_policy_mask(
    logprobs_A: Tensor, old_A: Tensor, advantages_A: Tensor, sample_A: Tensor, *, delta: float = 0.5
) -> Tensor:
    """0 where A < 0 and the sequence's mean log(pi_old / pi) exceeds delta, else 1 (DeepSeek-V3.2, arXiv 2512.02556).

    What the policy has already left far behind need not be pushed down further.
    """
    drift_A = sequence_mean(old_A - logprobs_A, sample_A).detach()
    return 1 - ((advantages_A < 0) & (drift_A > delta)).to(old_A.dtype)


CORRECTIONS: dict[str, tuple[float | None, float | None]] = {
    "decoupled": (None, None),
    "tis": (None, 2.0),
    "icepop": (0.5, 5.0),
    "mis_token": (None, 2.0),
    "mis_sequence": (None, 2.0),
    "geometric": (0.99, 1.001),
}
"""What a recipe may name, with the bounds (low, high) that each takes and their usual values."""


def correction(
    name: str, old_A: Tensor, rollout_A: Tensor, sample_A: Tensor, low: float | None, high: float | None
) -> Tensor:
    """The named weight [A]; a bound that is None is the usual one."""
    usual_low, usual_high = CORRECTIONS[name]
    bottom = usual_low if low is None else low
    top = usual_high if high is None else high
    made: dict[str, Callable[[], Tensor]] = {
        "decoupled": lambda: decoupled(old_A, rollout_A),
        "tis": lambda: tis_weight(old_A, rollout_A, cap=top or 0.0),
        "icepop": lambda: icepop(old_A, rollout_A, low=bottom or 0.0, high=top or 0.0),
        "mis_token": lambda: mis_token(old_A, rollout_A, cap=top or 0.0),
        "mis_sequence": lambda: mis_sequence(old_A, rollout_A, sample_A, cap=top or 0.0),
        "geometric": lambda: geometric(old_A, rollout_A, sample_A, low=bottom or 0.0, high=top or 0.0),
    }
    return made[name]()


def _within(weight_A: Tensor, by_A: Tensor, low: float, high: float) -> Tensor:
    if not low < high:
        raise ValueError(f"the bounds {low} and {high} leave nothing between them")
    return torch.where((by_A >= low) & (by_A <= high), weight_A, torch.zeros_like(weight_A))


def _positive(cap: float) -> float:
    if cap <= 0:
        raise ValueError(f"cap is {cap}, it must be above 0")
    return cap
