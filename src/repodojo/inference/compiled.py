"""Attention by the C kernel: what each query reads is told in passes (see native/attention.c).

The kernel reads slots where they are. A prefix is read once for all rows that begin with it, and what several prefixes
have in common, since one began as a copy of the other, once for all of theirs. What is added up for a row, and in
which order, depends on its own prefix and tokens alone, so a row's result is the same bits in whatever company.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from repodojo.inference.attention import Segment
from repodojo.inference.decoder import Attend
from repodojo.inference.kv import Slot
from repodojo.inference.native import TILE, Call, Kernel

Pass = tuple[int, int, int, int, int, int, int, int]
"""First token, count, address, floats a layer, floats a head, first key, last key + 1, `grows`."""


class CompiledAttention:
    """See `kernels.Kernels`; float32 only."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def prefill(self, segments: Sequence[Segment]) -> Attend:
        """For segments laid end to end."""
        passes, first = list[Pass](), 0
        for segment in segments:
            count = len(segment.ids)
            if segment.prefix is not None:
                passes.append(_pass(segment.prefix, first, count, 0, segment.prefix.length))
            passes.append(_pass(segment.slot, first, count, 0, segment.slot.length + 1, grows=1))
            first += count
        return _Attention(self._kernel, np.array(passes))

    def decode(self, rows: Sequence[tuple[Slot, Slot | None]]) -> tuple[list[int], Attend]:
        """For one new token a row; the order has those side by side that read the same."""
        families: dict[object, dict[Slot, list[int]]] = {}
        places, passes = list[int](), list[Pass]()
        for row, (_, prefix) in enumerate(rows):
            if prefix is None:
                places.append(row)
            else:
                families.setdefault(prefix.origin or prefix, {}).setdefault(prefix, []).append(row)
        for family in families.values():
            passes += _before(family, len(places))
            places += [row for slot in _by_likeness(family) for row in family[slot]]
        passes += [_pass(rows[i][0], n, 1, 0, rows[i][0].length + 1, grows=2) for n, i in enumerate(places)]
        return places, _Attention(self._kernel, np.array(passes))


def _before(family: dict[Slot, list[int]], first: int) -> list[Pass]:
    """Passes over the prefixes of a family, whose rows lie in its order from `first` on."""
    slots = _by_likeness(family)
    crowd, common = _crowd(slots)
    together, alone = 0, list[Pass]()
    for number, slot in enumerate(slots):
        start, count = (common if number < crowd else 0), len(family[slot])
        if start < slot.length:
            alone.append(_pass(slot, first + together, count, start, slot.length))
        together += count
        if number == crowd - 1:
            members = together
    return [*([_pass(slots[0], first, members, 0, common)] if common else []), *alone]


def _by_likeness(family: Iterable[Slot]) -> list[Slot]:
    return sorted(family, key=_alike, reverse=True)


def _alike(slot: Slot) -> int:
    return min(slot.alike, slot.length)


def _crowd(slots: list[Slot]) -> tuple[int, int]:
    """How many of these (most alike first) are read together, and for how many tokens: where most reading is saved."""
    tokens = [_alike(slot) // TILE * TILE for slot in slots]
    crowd = max(range(len(slots)), key=lambda n: n * tokens[n])
    return (crowd + 1, tokens[crowd]) if crowd else (1, 0)


def _pass(slot: Slot, first: int, count: int, start: int, stop: int, *, grows: int = 0) -> Pass:
    assert slot.arena is not None
    data = slot.arena.data
    per_slot, per_layer, per_head = data.stride()[:3]
    address = data.data_ptr() + slot.index * per_slot * data.element_size()
    return (first, count, address, per_layer, per_head, start, stop, grows)


class _Attention:
    """Attend callback for planned passes; as many threads as torch has, a share of the kv heads each."""

    def __init__(self, kernel: Kernel, passes: npt.NDArray[np.int64]) -> None:
        self._kernel, self._passes = kernel, passes

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        (tokens, heads, dim), kv_heads = q.shape, k.shape[1]
        q, k, v = (x if x.stride()[1:] == (dim, 1) else x.contiguous() for x in (q, k, v))
        out, state = torch.empty(tokens, heads, dim), torch.empty(tokens, heads, 2)
        steps = (q.stride(0), k.stride(0), v.stride(0))
        pointers = [x.data_ptr() for x in (q, k, v, out, state)]
        call = Call(*pointers, *steps, tokens, kv_heads, heads // kv_heads, layer)
        where = (ctypes.addressof(call), self._passes.ctypes.data, len(self._passes))
        threads = min(torch.get_num_threads(), kv_heads)
        if threads == 1:
            self._kernel(*where, 0, kv_heads)
        else:
            cuts = [kv_heads * n // threads for n in range(threads + 1)]
            list(_threads().map(lambda cut: self._kernel(*where, *cut), itertools.pairwise(cuts)))
        return out


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="attention")
