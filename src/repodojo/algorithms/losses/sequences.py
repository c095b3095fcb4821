"""Means over the tokens of each sequence, for losses and corrections that look at whole sequences.

A micro-batch must hold all trained tokens of its sequences; packs do (`learner.packing` never cuts a sample).
"""

from __future__ import annotations

import torch
from torch import Tensor


def sequence_sum(values_A: Tensor, sample_A: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over each sequence's tokens and the number of them, both spread to its tokens again, [A]; differentiable."""
    _, owner_A = torch.unique(sample_A, return_inverse=True)
    count = int(owner_A.max()) + 1 if owner_A.numel() else 0
    sum_S = values_A.new_zeros(count).index_add(0, owner_A, values_A)
    size_S = values_A.new_zeros(count).index_add(0, owner_A, torch.ones_like(values_A))
    return sum_S[owner_A], size_S[owner_A]


def sequence_mean(values_A: Tensor, sample_A: Tensor) -> Tensor:
    """Mean over each sequence's tokens, spread to its tokens again, [A]; differentiable."""
    sum_A, size_A = sequence_sum(values_A, sample_A)
    return sum_A / size_A
