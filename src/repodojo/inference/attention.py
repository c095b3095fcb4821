"""Attention over kept keys and values, in parts that are merged by their log-sum-exp.

Softmax over several runs of keys equals the parts' outputs weighted by their shares of the normaliser (the cascade of
FlashInfer, arXiv 2501.01005, section 3.3). So a prefix that a group shares is read once for all of its members.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from repodojo.inference.kv import Arena, Slot

_CROWD = 16
"""Members from which a shared prefix gets an attention call of its own, so that small groups are not padded to it."""

_ROUND = 16


def partial(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False) -> tuple[Tensor, Tensor]:
    """q [B, H, M, D], k and v [B, H, T, D], additive mask to [B, H, M, T] -> (output [B, H, M, D], lse [B, H, M])."""
    if q.device.type == "cpu":
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, lse = kernel(q, k, v, 0.0, causal, attn_mask=mask)
        return out, lse
    return partial_plain(q, k, v, mask, causal)


def partial_plain(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """The same in plain operations, for other devices and as the reference."""
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    lse = scores.logsumexp(-1)
    return ((scores - lse[..., None]).exp().to(v.dtype) @ v), lse


def merge(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """Output over the union of two runs of keys; `a` may be empty (lse -inf), `b` may not."""
    share = torch.sigmoid(a[1] - b[1])[..., None]
    return torch.lerp(b[0], a[0], share.to(b[0].dtype))


@dataclass(frozen=True)
class Segment:
    """New tokens of one slot in a prefill: `ids` go behind the slot's `length`, `prefix` (complete) lies before it."""

    slot: Slot
    ids: Sequence[int]
    prefix: Slot | None

    @property
    def position(self) -> int:
        """Position of the first new token."""
        return self.slot.length + (self.prefix.length if self.prefix else 0)


def batches(segments: Sequence[Segment], size: int) -> Iterator[list[Segment]]:
    """Cut into lists of at most `size` tokens each. A later piece of a segment expects the earlier ones computed."""
    batch, room = list[Segment](), size
    for segment in segments:
        done = 0
        while done < len(segment.ids):
            piece = segment.ids[done : done + room]
            batch.append(Segment(segment.slot, piece, segment.prefix))
            done, room = done + len(piece), room - len(piece)
            if not room:
                yield batch
                batch, room = [], size
    if batch:
        yield batch


class PrefillAttention:
    """Attend callback for segments laid end to end; writes their keys and values into the slots."""

    def __init__(self, segments: Sequence[Segment], heads_per_kv: int, dtype: torch.dtype) -> None:
        self._parts = [(s, _behind(s, heads_per_kv, dtype)) for s in segments]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out, start = [], 0
        for segment, mask in self._parts:
            stop = start + len(segment.ids)
            out.append(_one(layer, segment, mask, (q[start:stop], k[start:stop], v[start:stop])))
            start = stop
        return torch.cat(out) if len(out) > 1 else out[0]


def _behind(segment: Segment, heads_per_kv: int, dtype: torch.dtype) -> Tensor | None:
    """Additive mask [new x G, past + new] for new tokens behind kept ones; None where there are none."""
    past, new = segment.slot.length, len(segment.ids)
    if not past:
        return None
    assert segment.slot.arena is not None
    later = torch.ones(new, past + new, dtype=torch.bool).triu_(past + 1)
    mask = torch.zeros(new, past + new, dtype=dtype).masked_fill_(later, float("-inf"))
    return mask.repeat_interleave(heads_per_kv, 0).to(segment.slot.arena.data.device)


def _one(layer: int, segment: Segment, mask: Tensor | None, qkv: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Attention of one segment's q [M, heads, D] over its prefix, its kept tokens and itself."""
    q, k, v = qkv
    slot, (count, heads, dim), kv_heads = segment.slot, q.shape, k.shape[1]
    assert slot.arena is not None
    total, at = slot.length + count, (layer, slot.index, slot.index + 1)
    keys, values = slot.arena.keys(*at, total), slot.arena.values(*at, total)
    keys[0, :, slot.length :], values[0, :, slot.length :] = k.transpose(0, 1), v.transpose(0, 1)
    # heads that read the same keys become further queries: [1, kv_heads, M x G, D]
    flat = q.view(count, kv_heads, -1, dim).transpose(0, 1).reshape(1, kv_heads, -1, dim)
    if mask is None:
        queries, shape = q.view(count, kv_heads, -1, dim).permute(1, 2, 0, 3), (-1, heads // kv_heads, -1, -1)
        out, lse = partial(queries, keys[0][:, None].expand(shape), values[0][:, None].expand(shape), causal=True)
        own = out.transpose(1, 2).reshape(1, kv_heads, -1, dim), lse.transpose(1, 2).reshape(1, kv_heads, -1)
    else:
        own = partial(flat, keys, values, mask)
    prefix = segment.prefix
    if prefix is None:
        joined = own[0]
    else:
        assert prefix.arena is not None
        where = (layer, prefix.index, prefix.index + 1, prefix.length)
        joined = merge(partial(flat, prefix.arena.keys(*where), prefix.arena.values(*where)), own)
    return joined.view(kv_heads, count, -1, dim).transpose(0, 1).reshape(count, heads, dim)


@dataclass(frozen=True)
class _Span:
    """A slice of an arena that one attention call reads; `rows` are batch rows, padded to `width` a slot."""

    arena: Arena
    first: int
    last: int
    length: int
    mask: Tensor
    rows: Tensor | slice
    width: int = 1
    write: Tensor | None = None


@dataclass(frozen=True)
class DecodeAttention:
    """Attend callback for one new token a row; build it with `plan`."""

    own: list[_Span]
    shared: list[_Span]
    back: Tensor | None = field(default=None)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        batch, _, dim = q.shape
        queries = q.view(batch, k.shape[1], -1, dim)
        fresh = torch.cat([k, v], 1)
        parts = []
        for span in self.own:
            assert span.write is not None
            flat = span.arena.data.view(-1, dim)
            flat.index_copy_(0, span.write[layer], fresh[span.rows].view(-1, dim))
            parts.append(self._attend(layer, span, queries[span.rows]))
        own = _joined(parts)
        if self.back is None:
            return own[0]
        return merge(self._before(layer, queries), own)

    def _before(self, layer: int, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Attention over the shared prefixes, a row each; rows without one point behind the last: lse -inf."""
        _, kv_heads, group, dim = queries.shape
        parts = []
        for span in self.shared:
            slots = span.last - span.first
            # [slots, width, kv_heads, G, D] -> [slots, kv_heads, width x G, D]: members are further query rows
            q = queries[span.rows].view(slots, span.width, kv_heads, group, dim).transpose(1, 2)
            out, lse = self._attend(layer, span, q.reshape(slots, kv_heads, -1, dim))
            out = out.reshape(slots, kv_heads, span.width, group, dim).transpose(1, 2)
            lse = lse.reshape(slots, kv_heads, span.width, group).transpose(1, 2)
            parts.append((out.reshape(-1, kv_heads, group, dim), lse.reshape(-1, kv_heads, group)))
        nothing = queries.new_zeros(1, kv_heads, group, dim)
        parts.append((nothing, lse.new_full((1, kv_heads, group), float("-inf"))))
        out, lse = _joined(parts)
        assert self.back is not None
        return out[self.back], lse[self.back]

    def _attend(self, layer: int, span: _Span, q: Tensor) -> tuple[Tensor, Tensor]:
        where = (layer, span.first, span.last, span.length)
        return partial(q, span.arena.keys(*where), span.arena.values(*where), span.mask)


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(parts) == 1:
        return parts[0]
    return torch.cat([out for out, _ in parts]), torch.cat([lse for _, lse in parts])


def _mask(lengths: list[int], dtype: torch.dtype, device: torch.device) -> tuple[int, Tensor]:
    """Longest length (rounded up) and the additive mask [slots, 1, 1, T] that hides what lies behind each length."""
    longest = -(-max(lengths) // _ROUND) * _ROUND
    hidden = torch.arange(longest) >= torch.tensor(lengths)[:, None]
    mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))
    return longest, mask[:, None, None].to(device)


def plan(rows: Sequence[tuple[Slot, Slot | None]], dtype: torch.dtype) -> DecodeAttention:
    """Plan a step for rows of (own slot with room for one more token, shared prefix or None).

    Rows must be ordered by arena and, in it, by index, each arena's rows at its front (see `order`).
    """
    own, start = [], 0
    while start < len(rows):
        arena = rows[start][0].arena
        assert arena is not None
        slots = [slot for slot, _ in rows[start:] if slot.arena is arena]
        stop = start + len(slots)
        device = arena.data.device
        length, mask = _mask([slot.length + 1 for slot in slots], dtype, device)
        _, layers, heads, capacity, _ = arena.data.shape
        base = torch.tensor([slot.index * layers * heads * capacity + slot.length for slot in slots])
        write = (base[:, None] + torch.arange(layers * heads) * capacity).view(-1, layers, heads)
        write = write.transpose(0, 1).flatten(1).to(device)
        own.append(_Span(arena, 0, len(slots), length, mask, slice(start, stop), write=write))
        start = stop
    shared, back = _shared([prefix for _, prefix in rows], dtype)
    return DecodeAttention(own, shared, back)


def _shared(prefixes: list[Slot | None], dtype: torch.dtype) -> tuple[list[_Span], Tensor | None]:
    members: dict[Slot, list[int]] = {}
    for row, prefix in enumerate(prefixes):
        if prefix is not None:
            members.setdefault(prefix, []).append(row)
    if not members:
        return [], None
    spans, back, offset = list[_Span](), [-1] * len(prefixes), 0
    for arena in dict.fromkeys(slot.arena for slot in members):
        assert arena is not None
        slots = sorted((slot for slot in members if slot.arena is arena), key=lambda slot: slot.index)
        crowds = [[slot] for slot in slots if len(members[slot]) > _CROWD]
        few = [slot for slot in slots if len(members[slot]) <= _CROWD]
        for run in [*crowds, *_runs(few)]:
            width = max(len(members[slot]) for slot in run)
            device = arena.data.device
            length, mask = _mask([slot.length for slot in run], dtype, device)
            chosen = list[int]()
            for slot in run:
                for place, row in enumerate(members[slot]):
                    back[row] = offset + len(chosen) + place
                chosen += members[slot] + [members[slot][0]] * (width - len(members[slot]))
            offset += len(chosen)
            rows = torch.tensor(chosen, device=device)
            spans.append(_Span(arena, run[0].index, run[-1].index + 1, length, mask, rows, width))
    return spans, torch.tensor([offset if place < 0 else place for place in back], device=spans[0].mask.device)


def _runs(slots: list[Slot]) -> list[list[Slot]]:
    """Split at gaps in the index, so that each run is a slice."""
    runs: list[list[Slot]] = []
    for slot in slots:
        if runs and runs[-1][-1].index == slot.index - 1:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return runs


def order(slots: Sequence[Slot]) -> None:
    """Bring the slots that a step reads to the front of their arenas."""
    for arena in dict.fromkeys(slot.arena for slot in slots):
        if arena is not None:
            arena.front([slot for slot in dict.fromkeys(slots) if slot.arena is arena])
