"""Attention over a pack: each stretch causal within itself, plus the shared stretches above it, merged exactly.

A softmax over two sets of keys is the two softmaxes weighted by their log-sum-exps, and the backward pass of either
part needs only the merged output and the merged log-sum-exp. So a shared prefix is read once for all rows that
continue it, nothing is padded, and no mask is built. On the CPU this is PyTorch's flash kernel, called by its parts;
elsewhere a dense mask a tree serves.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from repodojo.learner.tree import Layout

FLASH_DTYPES = (torch.float32, torch.bfloat16, torch.float64)


class TreeAttention:
    """Attention for a packed forward (an `Attend`). `flash` forces or forbids the CPU kernel; None decides."""

    def __init__(self, layout: Layout, *, flash: bool | None = None) -> None:
        self.layout, self._flash = layout, flash
        self._masks: dict[torch.device, list[Tensor]] = {}

    def __call__(self, _layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        dtype = torch.get_autocast_dtype(q.device.type) if torch.is_autocast_enabled(q.device.type) else q.dtype
        q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
        if _flash_fits(q) if self._flash is None else self._flash:
            return cast(Tensor, _Flash.apply(q, k, v, self.layout))  # type: ignore[no-untyped-call]
        if q.device not in self._masks:
            self._masks[q.device] = [dense_mask(self.layout, *tree).to(q.device) for tree in self.layout.trees]
        return _masked(q, k, v, self.layout, self._masks[q.device])

    def additive(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The same as one mask [1, 1, N, N], 0 where the row sees the key, for models that bring their attention."""
        rows = self.layout.trees[-1][1] if self.layout.trees else 0
        seen = torch.zeros(rows, rows, dtype=torch.bool)
        for first, end in self.layout.trees:
            seen[first:end, first:end] = dense_mask(self.layout, first, end)
        mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
        return mask[None, None].to(device)


def dense_mask(layout: Layout, first: int, end: int) -> Tensor:
    """[rows, rows] of one tree: True where the row (axis 0) sees the key (axis 1)."""
    mask = torch.zeros(end - first, end - first, dtype=torch.bool)
    for row, count, length in layout.runs:
        for a in range(row, row + count * length, length):
            if first <= a < end:
                span = slice(a - first, a - first + length)
                mask[span, span] = torch.ones(length, length, dtype=torch.bool).tril()
    for a, b, c, d in layout.crosses:
        if first <= a < end:
            mask[a - first : b - first, c - first : d - first] = True
    return mask


def _masked(q: Tensor, k: Tensor, v: Tensor, layout: Layout, masks: list[Tensor]) -> Tensor:
    out = []
    for (first, end), mask in zip(layout.trees, masks, strict=True):
        a, b, c = (x[first:end].transpose(0, 1)[None] for x in (q, k, v))
        o = F.scaled_dot_product_attention(a, b, c, attn_mask=mask, enable_gqa=True)
        out.append(o[0].transpose(0, 1))
    return torch.cat(out) if out else q


def _flash_fits(q: Tensor) -> bool:
    name = "_scaled_dot_product_flash_attention_for_cpu"
    ops = torch.ops.aten
    return (
        q.device.type == "cpu" and q.dtype in FLASH_DTYPES and hasattr(ops, name) and hasattr(ops, f"{name}_backward")
    )


def _forward(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """[B, H, n, D] to the output and its log-sum-exp [B, H, n]."""
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal)
    return out, lse


def _backward(grad: Tensor, qkv: tuple[Tensor, Tensor, Tensor], out: Tensor, lse: Tensor, causal: bool) -> Any:
    """Gradients of q, k and v."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    return kernel(grad, *qkv, out, lse, 0.0, causal)


def _stretches(x: Tensor, run: tuple[int, int, int], repeat: int = 1) -> Tensor:
    """Rows of a run as [count, heads, length, D]; `repeat` shows each KV head to its queries ."""
    row, count, length = run
    part = x[row : row + count * length].view(count, length, *x.shape[1:])
    if repeat > 1:
        shown = part[:, :, :, None].expand(-1, -1, -1, repeat, -1)
        part = shown.flatten(2, 3)  # a view for one KV head, a copy for more
    return part.transpose(1, 2)


def _folded(x: Tensor, first: int, end: int, kv_heads: int) -> Tensor:
    """Rows first to end as [1, kv_heads, rows * repeat, D]: queries that share a KV head are just more rows of it."""
    part = x[first:end].view(end - first, kv_heads, -1, x.shape[-1])
    return part.transpose(0, 1).reshape(1, kv_heads, -1, x.shape[-1])


def _unfolded(x: Tensor, rows: int) -> Tensor:
    """Back from [1, kv_heads, rows * repeat, D] to [rows, heads, D]."""
    return x.view(x.shape[1], rows, -1, x.shape[-1]).transpose(0, 1).flatten(1, 2)


class _Flash(torch.autograd.Function):
    """q [N, H, D], k and v [N, KV, D] to [N, H, D]."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
        kv, repeat = k.shape[1], q.shape[1] // k.shape[1]
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        lse = torch.empty(q.shape[:2], dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
        for run in layout.runs:
            o, part_lse = _forward(_stretches(q, run), _stretches(k, run, repeat), _stretches(v, run, repeat), True)
            _stretches(out, run).copy_(o)
            _stretches(lse[..., None], run).copy_(part_lse[..., None])
        for a, b, c, d in layout.crosses:
            o, part_lse = _forward(_folded(q, a, b, kv), _folded(k, c, d, kv), _folded(v, c, d, kv), False)
            other, other_lse = (
                _unfolded(o.contiguous(), b - a),
                _unfolded(part_lse.contiguous()[..., None], b - a)[..., 0],
            )
            merged = torch.logaddexp(lse[a:b], other_lse)
            old, new = (lse[a:b] - merged).exp()[..., None], (other_lse - merged).exp()[..., None]
            out[a:b] = (out[a:b] * old + other * new).to(out.dtype)
            lse[a:b] = merged
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.layout = layout
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, out, lse = ctx.saved_tensors
        g = grads[0].contiguous()
        kv, repeat = k.shape[1], q.shape[1] // k.shape[1]
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for run in ctx.layout.runs:
            qkv = (_stretches(q, run), _stretches(k, run, repeat), _stretches(v, run, repeat))
            part_lse = _stretches(lse[..., None], run)[..., 0]
            gq, gk, gv = _backward(_stretches(g, run), qkv, _stretches(out, run), part_lse, True)
            _stretches(dq, run).copy_(gq)
            _stretches(dk, run).copy_(gk if repeat == 1 else gk.unflatten(1, (kv, repeat)).sum(2))
            _stretches(dv, run).copy_(gv if repeat == 1 else gv.unflatten(1, (kv, repeat)).sum(2))
        for a, b, c, d in ctx.layout.crosses:
            qkv = (_folded(q, a, b, kv), _folded(k, c, d, kv), _folded(v, c, d, kv))
            part_lse = _folded(lse[..., None], a, b, kv)[..., 0]
            gq, gk, gv = _backward(_folded(g, a, b, kv), qkv, _folded(out, a, b, kv), part_lse, False)
            dq[a:b] += _unfolded(gq.contiguous(), b - a)
            dk[c:d] += _unfolded(gk.contiguous(), d - c)
            dv[c:d] += _unfolded(gv.contiguous(), d - c)
        return dq, dk, dv, None
