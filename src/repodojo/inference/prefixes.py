"""Prefixes that conversations share, found by content.

A new conversation's prompt (without its last token, which is decoded) becomes a block; whoever brings the same tokens
refers to that block, so a group's prompt is computed and stored once. A block that begins like another one starts
with a copy of the common part's KV. Blocks nobody uses stay until their room is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from repodojo.inference.kv import Slot, Store

WORTHWHILE = 16
"""Common tokens from which copying another block's beginning, or waiting for it, pays."""


@dataclass(eq=False)
class Block:
    """A run of tokens from position 0; `sessions` counts conversations that begin with it."""

    ids: tuple[int, ...]
    slot: Slot = field(default_factory=Slot)
    sessions: int = 0
    array: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.array = np.array(self.ids, dtype=np.int64)

    @property
    def missing(self) -> int:
        """Tokens whose KV is still to be computed."""
        return len(self.ids) - self.slot.length


def common(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> int:
    """Length of the common prefix."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length


class Prefixes:
    """The known blocks; at most `limit` of them hold KV. New conversations join only what today's weights computed."""

    def __init__(self, store: Store, limit: int) -> None:
        self.store, self._limit = store, limit
        self._blocks: dict[tuple[int, ...], Block] = {}
        self._older: dict[Block, None] = {}  # kept from older weights, for the conversations that begin with them

    def join(self, ids: Sequence[int]) -> Block:
        """The block of exactly these tokens, made where it is new; one more conversation begins with it."""
        key = tuple(ids)
        block = self._blocks.setdefault(key, Block(key))
        block.sessions += 1
        return block

    def leave(self, block: Block) -> bool:
        """One conversation fewer; whether the block rests now, kept as long as its room is not needed."""
        block.sessions -= 1
        if block.sessions:
            return False
        if block in self._older or block.slot.arena is None:
            self.drop(block)
            return False
        return True

    def full(self) -> bool:
        """Whether no further block may hold KV."""
        return sum(block.slot.arena is not None for block in self._all()) >= self._limit

    def loose(self, pinned: Iterable[Block]) -> list[Block]:
        """Blocks that hold KV, but for the pinned ones."""
        kept = set(pinned)
        return [block for block in self._all() if block.slot.arena is not None and block not in kept]

    def drop(self, block: Block) -> None:
        """Its KV goes; with it the block itself, where no conversation begins with it."""
        self.store.drop(block.slot)
        if not block.sessions:
            self._older.pop(block, None)
            if self._blocks.get(block.ids) is block:
                del self._blocks[block.ids]

    def _all(self) -> list[Block]:
        return [*self._blocks.values(), *self._older]

    def seed(self, block: Block, computing: Iterable[Block]) -> int | None:
        """Copy what another block has computed of an empty block's beginning; the number of tokens copied.

        None: one of those being `computing` now will soon hold much more of it, so waiting is cheaper.
        """
        ready, donor, soon = 0, None, 0
        for other in self._blocks.values():
            if other is not block and other.slot.length > ready:
                length = min(common(block.array, other.array), other.slot.length)
                if length > ready:
                    ready, donor = length, other
        for other in computing:
            if other is not block:
                soon = max(soon, common(block.array, other.array))
        if soon >= ready + WORTHWHILE:
            return None
        if donor is None or ready < WORTHWHILE:
            return 0
        self.store.copy(donor.slot, block.slot, ready)
        return ready

    def renew(self, *, keep: bool) -> None:
        """The weights changed: every block's KV is void, and only the tokens stay known.

        With `keep` those complete serve on the conversations that begin with them, and nobody else.
        """
        for block in self._all():
            if keep and block.sessions and not block.missing:
                if block not in self._older:
                    del self._blocks[block.ids]
                self._older[block] = None
            else:
                block.slot.empty()
