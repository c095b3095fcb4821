"""How much memory keys and values may hold: arenas grow within a bound, and give back what nobody uses."""

from __future__ import annotations

from collections.abc import Sequence

from repodojo.core.errors import ConfigError
from repodojo.inference.kv import SMALLEST, Slot, Store, capacity_for


class Room:
    """A bound, in tokens of one layer stack, on what several stores hold together; None bounds nothing.

    While an arena grows or shrinks, its old and new content exist side by side for a moment.
    """

    def __init__(self, stores: Sequence[Store], tokens: int | None) -> None:
        self._stores, self._tokens = stores, tokens

    @staticmethod
    def check(tokens: int | None, max_context: int) -> None:
        """ConfigError where one conversation alone might not fit (a slot that moves is there twice, and rounded up)."""
        least = 4 * max(max_context, SMALLEST)
        if tokens is not None and tokens < least:
            raise ConfigError(
                f"kv_tokens {tokens} cannot hold one conversation of {max_context} tokens while it grows",
                way_out=f"set it to at least {least}, or lower max_context",
            )

    @property
    def held(self) -> int:
        """Tokens for which there is memory, used or not."""
        return sum(arena.capacity * len(arena.owners) for store in self._stores for arena in store.arenas.values())

    def place(self, store: Store, slot: Slot, length: int) -> bool:
        """Give the slot room in its store, or change nothing and return False where the bound is in the way."""
        if self._tokens is None:
            store.place(slot, length)
            return True
        if slot.arena is not None and length <= slot.arena.capacity:
            return True
        capacity = capacity_for(length)
        arena = store.arenas.get(capacity)
        if arena is None or None not in arena.owners:
            if capacity > self._tokens - self.held:
                for other in self._stores:
                    other.trim()
            spare = (self._tokens - self.held) // capacity
            if spare < 1:
                return False
            store.grow(capacity, spare)
        store.place(slot, length)
        return True
