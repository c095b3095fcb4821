"""The supervised loss of a pack: cross-entropy of the action tokens, weighted by sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from repodojo.core.records import Sample
from repodojo.inference.decoder import Decoder
from repodojo.learner.logprobs import packed_logprobs
from repodojo.learner.packing import Pack


def supervised_loss(decoder: Decoder, pack: Pack, weights_S: Tensor, denominator: float) -> Tensor:
    """Sum over action tokens of weight * -log pi, divided by `denominator`.

    weights_S has one weight a sample of the packed list; `denominator` is that of the whole batch
    (`weight_of_tokens`), so that the losses of micro-batches add up to the loss of the batch.
    """
    logprobs_A, _ = packed_logprobs(decoder, pack, entropy=False)
    return -(logprobs_A * weights_S[pack.sample_A]).sum() / denominator


def weight_of_tokens(samples: Sequence[Sample], weights: Sequence[float] | None = None) -> float:
    """Sum over samples of weight times action tokens: the denominator of a token mean."""
    each = [1.0] * len(samples) if weights is None else weights
    return float(sum(w * sum(s.loss_mask) for w, s in zip(each, samples, strict=True)))


def weights_of(samples: Sequence[Sample], weights: Sequence[float] | None = None) -> Tensor:
    """Weights [S] float32; ones by default."""
    return torch.ones(len(samples)) if weights is None else torch.tensor(list(weights), dtype=torch.float32)
