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
    """The known blocks; at most `limit` of them hold KV."""

    def __init__(self, store: Store, limit: int) -> None:
        self.store, self._limit = store, limit
        self._blocks: dict[tuple[int, ...], Block] = {}  # least recently used first

    def join(self, ids: Sequence[int]) -> Block:
        """The block of exactly these tokens, made where it is new; one more conversation begins with it."""
        key = tuple(ids)
        block = self._blocks.get(key) or Block(key)
        block.sessions += 1
        self._blocks[key] = block
        return block

    def leave(self, block: Block) -> None:
        """One conversation fewer; the block is kept as long as its room is not needed."""
        block.sessions -= 1
        if not block.sessions and block.slot.arena is None:
            self._blocks.pop(block.ids, None)

    def touch(self, block: Block) -> None:
        """Mark as just used."""
        self._blocks[block.ids] = self._blocks.pop(block.ids, block)

    def make_room(self, pinned: Iterable[Block]) -> int:
        """Drop the KV of those used least recently until one more may hold some; how many. `pinned` stay."""
        kept = set(pinned)
        resident = [block for block in self._blocks.values() if block.slot.arena is not None]
        loose = [block for block in resident if block not in kept]
        gone = loose[: max(0, len(resident) - self._limit + 1)]
        for block in gone:
            self._drop(block)
        return len(gone)

    def drop_one(self, pinned: Iterable[Block]) -> bool:
        """Drop the KV of the one used least recently; False where all that hold KV are pinned."""
        kept = set(pinned)
        found = next((b for b in self._blocks.values() if b.slot.arena is not None and b not in kept), None)
        if found is not None:
            self._drop(found)
        return found is not None

    def _drop(self, block: Block) -> None:
        self.store.drop(block.slot)
        if not block.sessions:
            del self._blocks[block.ids]

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

    def forget(self) -> None:
        """The weights changed: every block's KV is void; the tokens stay known."""
        for block in self._blocks.values():
            block.slot.length = 0
