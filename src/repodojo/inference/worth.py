"""What kept keys and values are worth: the chance of being used again, times what that saves, for their room."""

from __future__ import annotations

from typing import Literal

from repodojo.inference.architecture import Architecture
from repodojo.inference.kv import Slot

Kind = Literal["conversation", "prefix"]


class Worth:
    """GreedyDual-Size (Cao and Irani, USENIX 1997) with a chance of use: worth = clock + chance * cost / size,
    with the clock as it stood when the slot was last used.

    The clock is the worth of what was evicted last, so whatever nobody comes back for is overtaken in time, however
    dear it was. chance: of resting conversations, and of resting prefixes, the share that were used again so far
    (Laplace's rule: 1/2 before anything is known). cost: of computing the tokens again, in forward passes of one token
    without context; attention makes late tokens dearer. size: tokens of memory held, where these are bounded
    (`by_room`), else 1, since then the number of holders is what is short.
    """

    def __init__(self, architecture: Architecture, *, by_room: bool) -> None:
        a = architecture
        matrices = a.parameters() - (1 if a.tied else 2) * a.vocabulary * a.hidden
        self._by_room = by_room
        self._per_position = 2.0 * a.layers * a.heads * a.head_dim / matrices  # 4 l h d flops against 2 a weight
        self._clock = 0.0
        self._rested: dict[Kind, int] = {"conversation": 0, "prefix": 0}
        self._used: dict[Kind, int] = {"conversation": 0, "prefix": 0}

    def cost(self, start: int, count: int) -> float:
        """Of `count` tokens behind `start` others."""
        return count * (1.0 + self._per_position * (start + count / 2))

    def chance(self, kind: Kind) -> float:
        """That what rests now is used again."""
        return (self._used[kind] + 1) / (self._rested[kind] + 2)

    def rests(self, kind: Kind, slot: Slot, start: int) -> None:
        """Nobody uses the slot now."""
        self.stamp(slot, start)
        self._rested[kind] += 1

    def stamp(self, slot: Slot, start: int) -> None:
        """Note the time on the clock, and what the slot saves for its room."""
        size = slot.arena.capacity if self._by_room and slot.arena is not None else 1
        slot.stamp, slot.saves = self._clock, self.cost(start, slot.length) / size

    def of(self, kind: Kind, slot: Slot) -> float:
        """What keeping it is worth."""
        return slot.stamp + self.chance(kind) * slot.saves

    def used(self, kind: Kind) -> None:
        """What rested is used again."""
        self._used[kind] += 1

    def evicted(self, kind: Kind, slot: Slot) -> None:
        """This one had to go."""
        self._clock = max(self._clock, self.of(kind, slot))
