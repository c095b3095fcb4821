"""Log-probabilities and entropies of the action tokens of a pack, differentiable, without an [N, vocabulary] tensor.

Only rows that predict an action token reach the vocabulary projection, a chunk at a time; the backward pass projects
each chunk again instead of keeping it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor

from repodojo.learner.attention import TreeAttention
from repodojo.learner.packing import Pack
from repodojo.learner.policy import Policy

CHUNK_ELEMENTS = 1 << 20
"""Logits held at a time; a few MiB stay in the cache, twice as much was slower by a half."""


def packed_logprobs(decoder: Policy, pack: Pack, *, entropy: bool = True) -> tuple[Tensor, Tensor]:
    """log pi of each action token and the entropy of its distribution, both [A] float32, at temperature 1.

    Differentiable in the decoder's weights; runs under autocast where that is on. With `entropy=False` zeros are
    returned for it, which saves a pass over the logits.
    """
    return project(packed_rows(decoder, pack), decoder.output_weight, pack.target_A, entropy=entropy)


def packed_rows(decoder: Policy, pack: Pack) -> Tensor:
    """The last hidden state before each action token, [A, hidden]."""
    return decoder.hidden(pack.ids_N, pack.positions_N, TreeAttention(pack.layout))[pack.source_A]


def project(rows: Tensor, weight: Tensor, targets: Tensor, *, entropy: bool = True) -> tuple[Tensor, Tensor]:
    """rows [A, hidden], weight [V, hidden], targets [A] to (log-probs [A], entropies [A]).

    Both are float32 (float64 for float64 rows).
    """
    if torch.is_autocast_enabled(rows.device.type):
        dtype = torch.get_autocast_dtype(rows.device.type)
        rows, weight = rows.to(dtype), weight.to(dtype)
    return cast(tuple[Tensor, Tensor], _Project.apply(rows, weight, targets, entropy))  # type: ignore[no-untyped-call]


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, targets: Tensor, entropy: bool) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(rows.dtype, torch.float32)
        lse, logprobs, entropies = (rows.new_zeros(rows.shape[0], dtype=wide) for _ in range(3))
        for span, logits in _chunks(rows, weight, wide):
            top = logits.amax(-1)
            chosen = logits.gather(1, targets[span, None])[:, 0]
            logits.sub_(top[:, None])
            if entropy:
                e = logits.exp()
                total = e.sum(-1)
                entropies[span] = total.log() - e.mul_(logits).sum(-1) / total
            else:
                total = logits.exp_().sum(-1)
            lse[span] = total.log() + top
            logprobs[span] = chosen - lse[span]
        ctx.save_for_backward(rows, weight, targets, lse, entropies)
        ctx.set_materialize_grads(False)
        if not entropy:
            ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, Tensor, None, None]:
        rows, weight, targets, lse, entropies = ctx.saved_tensors
        by_logprob = torch.zeros_like(lse) if grads[0] is None else grads[0]
        by_entropy = grads[1]
        d_rows = torch.empty_like(rows)
        d_weight = torch.zeros_like(weight, dtype=lse.dtype)
        for span, d in _chunks(rows, weight, lse.dtype):
            # d logprob_t / d logit_j = [j = t] - p_j;  d entropy / d logit_j = -p_j (log p_j + entropy)
            d.sub_(lse[span, None])
            if by_entropy is None:
                d.exp_().mul_(-by_logprob[span, None])
            else:
                p = d.exp()
                d.add_(entropies[span, None]).mul_(-by_entropy[span, None])
                d.sub_(by_logprob[span, None]).mul_(p)
            d.scatter_add_(1, targets[span, None], by_logprob[span, None])
            narrow = d.to(rows.dtype)
            d_rows[span] = narrow @ weight
            d_weight += narrow.T @ rows[span]
        return d_rows, d_weight.to(weight.dtype), None, None


def _chunks(rows: Tensor, weight: Tensor, wide: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Logits of a few rows at a time, in one buffer that the caller may overwrite."""
    size = max(CHUNK_ELEMENTS // max(weight.shape[0], 1), 64)
    buffer = rows.new_empty(min(size, rows.shape[0]), weight.shape[0], dtype=wide)
    for first in range(0, rows.shape[0], size):
        span = slice(first, min(first + size, rows.shape[0]))
        yield span, buffer[: span.stop - first].copy_(rows[span] @ weight.T)
