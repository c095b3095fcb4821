"""From losses of tokens to one loss of the global batch.

Every mode is a weighted sum over tokens whose weights depend on the whole batch only through two totals. So a
micro-batch, or a process of several, adds its own weighted sum, and the sums add up exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from repodojo.core.errors import ConfigError

Aggregation = Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]
AGGREGATIONS: tuple[str, ...] = get_args(Aggregation)


@dataclass(frozen=True)
class Totals:
    """Over the GLOBAL batch: tokens that are trained on, and sequences that count."""

    tokens: float
    sequences: float

    @classmethod
    def of(cls, tokens_S: Tensor, *, count_masked: bool = False) -> Totals:
        """From the number of trained tokens of each of S sequences.

        A sequence without any does not count, unless `count_masked`: then masking a trajectory also weakens the
        others' gradient in the modes that average over sequences.
        """
        sequences = tokens_S.numel() if count_masked else int((tokens_S > 0).sum())
        return cls(float(tokens_S.sum()), float(sequences))

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.tokens + other.tokens, self.sequences + other.sequences)


def sequence_weights(mode: Aggregation, tokens_S: Tensor, totals: Totals, *, l_max: float | None = None) -> Tensor:
    """The weight [S] float64 of every token of each sequence; the loss is the sum over tokens of weight * token loss.

    token-mean: 1 / all tokens;  seq-mean-token-sum: 1 / sequences;  seq-mean-token-mean: 1 / (sequences * own tokens);
    seq-mean-token-sum-norm: 1 / (sequences * l_max), the constant length norm of Dr. GRPO (arXiv 2503.20783).
    """
    own_S = tokens_S.to(torch.float64)
    ones_S = torch.ones_like(own_S)
    sequences = max(totals.sequences, 1.0)
    if mode == "token-mean":
        return ones_S / max(totals.tokens, 1.0)
    if mode == "seq-mean-token-sum":
        return ones_S / sequences
    if mode == "seq-mean-token-mean":
        return ones_S / (sequences * own_S.clamp(min=1.0))
    if mode == "seq-mean-token-sum-norm" and l_max is not None:
        return ones_S / (sequences * l_max)
    if mode == "seq-mean-token-sum-norm":
        raise ConfigError("aggregation 'seq-mean-token-sum-norm' lacks l_max", way_out="give the constant length norm")
    raise ConfigError(f"no aggregation '{mode}'", way_out=f"use one of {', '.join(AGGREGATIONS)}")
