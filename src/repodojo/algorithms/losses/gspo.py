"""Clipping by the ratio of whole sequences (GSPO, arXiv 2507.18071)."""

from __future__ import annotations

from torch import Tensor

from repodojo.algorithms.losses.clip import Clipped, clip_ratio, ratio_of
from repodojo.algorithms.losses.sequences import sequence_mean


def gspo(
    logprobs_A: Tensor,
    old_A: Tensor,
    advantages_A: Tensor,
    sample_A: Tensor,
    *,
    low: float = 3e-4,
    high: float = 4e-4,
) -> Clipped:
    """max(-s A, -clip(s, 1 - low, 1 + high) A), s = exp(mean_t log rho) of the token's sequence, clipped per sequence.

    Every token carries its sequence's loss, so "seq-mean-token-mean" gives the mean over sequences, as in the paper;
    with it the length of a sequence moves neither its ratio nor its weight. sample_A: which sequence a token is of.
    """
    ratio_A = ratio_of(sequence_mean(logprobs_A - old_A, sample_A))
    return clip_ratio(ratio_A, advantages_A, low=low, high=high)
