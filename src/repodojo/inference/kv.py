"""Where keys and values live: slots in arenas of equal capacity.

A slot holds the KV of one run of tokens (a conversation's own part, or a prefix that several share). Arenas differ by
capacity, in powers of two, so a short slot never pays for a long one; a slot that outgrows its arena moves to the
next. Attention in plain operations reads slices: for it, the slots of one decode step are brought to the front of their
arena. The C kernel reads them where they are.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from repodojo.inference.architecture import Architecture

SMALLEST = 64

_AHEAD = 16
"""Times as many slots as are asked for, for which an arena takes address space."""


@dataclass(frozen=True)
class SlotShape:
    """What a token's keys and values are, and where they lie."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device


@dataclass(eq=False)
class Slot:
    """Room for a run of tokens; `length` counts those whose KV is there. Without an arena it holds nothing.

    `stamp` and `saves` say what it is worth to keep it (see `worth.Worth`). Slots of one `origin` hold the very same
    keys and values for the first `alike` tokens of whichever has the fewer (see `Store.copy`).
    """

    arena: Arena | None = None
    index: int = -1
    length: int = 0
    stamp: float = 0.0
    saves: float = 0.0
    origin: object = None
    alike: int = 0

    def empty(self) -> None:
        """What it holds is void; its room stays."""
        self.length, self.origin, self.alike = 0, None, 0


class Arena:
    """Slots of one capacity: [slots, layers, 2 x kv_heads, capacity, D], key heads first, then value heads.

    In the machine's own memory, address space is taken ahead, which costs nothing until it is written to: growing
    rarely copies. A device's memory is taken as it is needed.
    """

    def __init__(self, shape: SlotShape, capacity: int) -> None:
        self.capacity, self.kv_heads = capacity, shape.kv_heads
        self._shape = (shape.layers, 2 * shape.kv_heads, capacity, shape.head_dim)
        self._reserved = self.data = _zeros((0, *self._shape), shape.dtype, shape.device)
        self.owners: list[Slot | None] = []

    def take(self) -> int:
        """The index of a free slot; the arena doubles where it is full."""
        if None not in self.owners:
            self.resize(max(4, 2 * len(self.owners)))
        return self.owners.index(None)

    def resize(self, slots: int) -> None:
        """Hold this many slots; those beyond must be free."""
        held = len(self.owners)
        if not held <= slots <= len(self._reserved):
            both, old = min(slots, held), self.data
            ahead = slots if slots < held or old.device.type != "cpu" else _AHEAD * slots
            self._reserved = _ahead(ahead, slots, self._shape, old)
            self._reserved[:both] = old[:both]
        self.data, self.owners = self._reserved[:slots], self.owners[:slots] + [None] * (slots - held)

    def keys(self, layer: int, start: int, stop: int, length: int) -> Tensor:
        """[stop - start, kv_heads, length, D], a view."""
        return self.data[start:stop, layer, : self.kv_heads, :length]

    def values(self, layer: int, start: int, stop: int, length: int) -> Tensor:
        """As `keys`."""
        return self.data[start:stop, layer, self.kv_heads :, :length]

    def front(self, slots: Sequence[Slot]) -> None:
        """Move these slots (all of this arena) to indices 0 to len(slots) - 1, with as few moves as possible."""
        wanted = len(slots)
        outside = [slot for slot in slots if slot.index >= wanted]
        if not outside:
            return
        inside = {slot.index for slot in slots if slot.index < wanted}
        holes = (i for i in range(wanted) if i not in inside)
        for slot, hole in zip(outside, holes, strict=True):
            self._swap(slot, hole)

    def _swap(self, slot: Slot, hole: int) -> None:
        other, source = self.owners[hole], slot.index
        length = max(slot.length, other.length if other else 0)
        a, b = self.data[source, :, :, :length], self.data[hole, :, :, :length]
        if other is None:
            b.copy_(a)
        else:
            kept = b.clone()
            b.copy_(a)
            a.copy_(kept)
            other.index = source
        self.owners[source], self.owners[hole], slot.index = other, slot, hole


def kv_bytes(a: Architecture, dtype: torch.dtype) -> int:
    """Bytes of one token's keys and values in all layers."""
    return 2 * a.layers * a.kv_heads * a.head_dim * dtype.itemsize


def capacity_for(length: int) -> int:
    """The smallest power of two times SMALLEST that holds `length` tokens."""
    return SMALLEST << max(0, (length - 1) // SMALLEST).bit_length()


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, since masked positions are multiplied by 0 and 0 x NaN would leak; numpy's cost nothing until touched."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    count = math.prod(shape)
    memory = np.zeros(max(count, 1) * dtype.itemsize, np.uint8)  # an empty tensor could not be viewed as a wider type
    return torch.from_numpy(memory).view(dtype)[:count].view(shape)


def _ahead(wished: int, needed: int, slot: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros for `wished` slots, or for those needed where the machine grants no more; where and as `like` is."""
    try:
        return _zeros((wished, *slot), like.dtype, like.device)
    except MemoryError:
        return _zeros((needed, *slot), like.dtype, like.device)


class Store:
    """Arenas by capacity, and the slots in them."""

    def __init__(self, shape: SlotShape) -> None:
        self._shape = shape
        self.arenas: dict[int, Arena] = {}

    def place(self, slot: Slot, length: int) -> Arena:
        """Give the slot room for `length` tokens; what it holds moves along."""
        old = slot.arena
        if old is not None and length <= old.capacity:
            return old
        arena = self._arena(capacity_for(length))
        index = arena.take()
        if old is not None:
            arena.data[index, :, :, : slot.length] = old.data[slot.index, :, :, : slot.length]
            old.owners[slot.index] = None
        arena.owners[index] = slot
        slot.arena, slot.index = arena, index
        return arena

    def _arena(self, capacity: int) -> Arena:
        if capacity not in self.arenas:
            self.arenas[capacity] = Arena(self._shape, capacity)
        return self.arenas[capacity]

    def grow(self, capacity: int, most: int) -> None:
        """Add free slots of a capacity: as many as there are, at least 4, but never more than `most`."""
        arena = self._arena(capacity)
        held = len(arena.owners)
        arena.resize(held + min(max(4, held), most))

    def trim(self) -> None:
        """Give back the memory of free slots."""
        for capacity, arena in list(self.arenas.items()):
            used = [slot for slot in arena.owners if slot is not None]
            if not used:
                del self.arenas[capacity]
            elif len(used) < len(arena.owners):
                arena.front(used)
                arena.resize(len(used))

    def drop(self, slot: Slot) -> None:
        """Give the slot's room back."""
        if slot.arena is not None:
            slot.arena.owners[slot.index] = None
        slot.arena, slot.index = None, -1
        slot.empty()

    def copy(self, source: Slot, target: Slot, length: int) -> None:
        """Let the placed slot `target` hold the first `length` tokens of `source`."""
        assert source.arena is not None and target.arena is not None
        target.arena.data[target.index, :, :, :length] = source.arena.data[source.index, :, :, :length]
        target.length = length
        if source.origin is None:
            source.origin, source.alike = object(), sys.maxsize
        target.origin, target.alike = source.origin, min(length, source.alike)
