"""Estimators of KL(pi || ref) from sampled tokens (Schulman 2020, "Approximating KL divergence")."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def k1(logprobs_A: Tensor, reference_A: Tensor) -> Tensor:
    """log pi - log ref: unbiased, noisy, may be negative."""
    return logprobs_A - reference_A


def k2(logprobs_A: Tensor, reference_A: Tensor) -> Tensor:
    """(log pi - log ref)^2 / 2: biased, low variance."""
    return (logprobs_A - reference_A) ** 2 / 2


def k3(logprobs_A: Tensor, reference_A: Tensor) -> Tensor:
    """ref / pi - 1 - log(ref / pi): unbiased, never negative."""
    log_ratio = logprobs_A - reference_A
    return (-log_ratio).exp() + log_ratio - 1


KL_TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}
