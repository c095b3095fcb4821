"""Log-probabilities and entropies of the action tokens of a pack, differentiable, without an [N, vocabulary] tensor.

Only rows that predict an action token reach the vocabulary projection, a chunk at a time; the backward pass projects
each chunk again instead of keeping it.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from repodojo.inference.decoder import Decoder
from repodojo.learner.attention import attend_layout
from repodojo.learner.packing import Pack

CHUNK = 1024
"""Rows projected at a time."""


def packed_logprobs(decoder: Decoder, pack: Pack, *, entropy: bool = True) -> tuple[Tensor, Tensor]:
    """log pi of each action token and the entropy of its distribution, both [A] float32, at temperature 1.

    Differentiable in the decoder's weights; runs under autocast where that is on. With `entropy=False` zeros are
    returned for it, which saves a pass over the logits.
    """
    hidden = decoder.hidden(pack.ids_N, pack.positions_N, attend_layout(pack.layout))
    return project(hidden[pack.source_A], decoder.output_weight, pack.target_A, entropy=entropy)


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
        for a in range(0, rows.shape[0], CHUNK):
            span = slice(a, a + CHUNK)
            logits = (rows[span] @ weight.T).to(wide)
            lse[span] = torch.logsumexp(logits, -1)
            logprobs[span] = logits.gather(1, targets[span, None])[:, 0] - lse[span]
            if entropy:
                p = (logits - lse[span, None]).exp_()
                entropies[span] = lse[span] - (p * logits).sum(-1)
        ctx.save_for_backward(rows, weight, targets, lse, entropies)
        ctx.set_materialize_grads(False)
        if not entropy:
            ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        rows, weight, targets, lse, entropies = ctx.saved_tensors
        by_logprob, by_entropy = grads
        if by_logprob is None and by_entropy is None:
            return None, None, None, None
        d_rows = torch.empty_like(rows)
        d_weight = torch.zeros_like(weight, dtype=lse.dtype)
        for a in range(0, rows.shape[0], CHUNK):
            span = slice(a, a + CHUNK)
            log_p = (rows[span] @ weight.T).to(lse.dtype).sub_(lse[span, None])
            p = log_p.exp()
            # d logprob_t / d logit_j = [j = t] - p_j;  d entropy / d logit_j = -p_j (log p_j + entropy)
            d = torch.zeros_like(p)
            if by_entropy is not None:
                d = log_p.add_(entropies[span, None]).mul_(p).mul_(-by_entropy[span, None])
            if by_logprob is not None:
                d.sub_(p.mul_(by_logprob[span, None])).scatter_add_(1, targets[span, None], by_logprob[span, None])
            d = d.to(rows.dtype)
            d_rows[span] = d @ weight
            d_weight += d.T @ rows[span]
        return d_rows, d_weight.to(weight.dtype), None, None
