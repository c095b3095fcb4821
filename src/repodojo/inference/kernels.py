"""Which attention the engine computes with: the C kernel, or torch's on slices of the arenas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from repodojo.core.errors import ConfigError
from repodojo.inference.architecture import Architecture
from repodojo.inference.attention import PrefillAttention, Segment, order, plan
from repodojo.inference.compiled import CompiledAttention
from repodojo.inference.decoder import Attend
from repodojo.inference.kv import Slot
from repodojo.inference.native import Attention, kernel

Row = tuple[Slot, Slot | None]
"""Of a decode step: a conversation's own slot, with room for one more token, and the prefix before it."""


class Kernels(Protocol):
    """Attention over kept keys and values; both calls return callbacks that also write the new ones."""

    def prefill(self, segments: Sequence[Segment]) -> Attend:
        """For segments laid end to end."""

    def decode(self, rows: Sequence[Row]) -> tuple[list[int], Attend]:
        """For one new token a row, in the order of rows that is returned."""


def chosen(attention: Attention, architecture: Architecture, dtype: torch.dtype, device: str = "cpu") -> Kernels:
    """`device` is a kind of device. ConfigError where the C kernel is demanded and cannot be had."""
    plain = PlainAttention(architecture.heads // architecture.kv_heads, dtype)
    if attention == "torch":
        return plain
    try:
        if device != "cpu":
            raise OSError(f"it computes on the CPU, not on {device}")
        if dtype != torch.float32:
            raise OSError(f"it computes in float32, not {dtype}".replace("torch.", ""))
        return CompiledAttention(kernel(architecture.head_dim))
    except OSError as error:
        if attention == "auto":
            return plain
        raise ConfigError(f"the C attention cannot be had: {error}", way_out="leave attention to auto") from None


class PlainAttention:
    """Torch's attention over slices: the slots that a step reads are brought to the front of their arenas."""

    def __init__(self, heads_per_kv: int, dtype: torch.dtype) -> None:
        self._group, self._dtype = heads_per_kv, dtype

    def prefill(self, segments: Sequence[Segment]) -> Attend:
        """See `Kernels`."""
        return PrefillAttention(segments, self._group, self._dtype)

    def decode(self, rows: Sequence[Row]) -> tuple[list[int], Attend]:
        """See `Kernels`."""
        order([own for own, _ in rows])
        order([prefix for _, prefix in rows if prefix is not None])
        places = sorted(range(len(rows)), key=lambda i: _place(rows[i][0]))
        return places, plan([rows[i] for i in places], self._dtype)


def _place(slot: Slot) -> tuple[int, int]:
    return (slot.arena.capacity if slot.arena else 0, slot.index)
