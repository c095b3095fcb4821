"""Whose keys and values have memory, and who gives theirs up when it is short: what is worth least for its room."""

from __future__ import annotations

from collections.abc import Sequence

from repodojo.inference.fast import FastDecoder
from repodojo.inference.kv import Slot, SlotShape, Store
from repodojo.inference.prefixes import Block, Prefixes
from repodojo.inference.requests import Session, Stats
from repodojo.inference.room import Room
from repodojo.inference.worth import Kind, Worth


class Memory:
    """The two stores of the engine, of conversations' own tokens and of shared prefixes, within one bound.

    rows: conversations, and prefixes, that may hold KV; tokens: bound on both together (see `Room`)
    running: the conversations being served, whose KV is never taken
    waiting: those that will be, oldest first, whose KV is taken last of all, the youngest's first
    """

    def __init__(
        self,
        model: FastDecoder,
        *,
        rows: int,
        tokens: int | None,
        running: dict[Session, None],
        waiting: dict[Session, None],
        stats: Stats,
    ) -> None:
        a = model.architecture
        shape = SlotShape(a.layers, a.kv_heads, a.head_dim, model.dtype, model.device)
        self.own, shared = Store(shape), Store(shape)
        self.worth = Worth(a, by_room=tokens is not None)
        self.prefixes = Prefixes(shared, rows)
        self.idle: dict[Session, None] = {}  # conversations that hold KV but do not run
        self._room = Room((self.own, shared), tokens)
        self._running, self._waiting, self._stats = running, waiting, stats

    @property
    def held(self) -> int:
        """Tokens for which there is memory."""
        return self._room.held

    # ------------------------------------------------------------ conversations come and go

    def comes(self, session: Session) -> None:
        """Its next turn begins."""
        if session in self.idle:
            del self.idle[session]
            self.worth.used("conversation")

    def rests(self, session: Session) -> None:
        """Its turn is over; what it holds can be taken from now on."""
        if session.slot.arena is not None:
            self.idle[session] = None
            self.worth.rests("conversation", session.slot, session.shared)

    def free(self, session: Session) -> None:
        """It will not come back."""
        self.idle.pop(session, None)
        self.drop(session)
        self.leave(session)

    def drop(self, session: Session) -> None:
        """Its own KV goes; it stays known by its tokens."""
        self.own.drop(session.slot)

    def join(self, session: Session, ids: Sequence[int]) -> None:
        """Let it begin with the prefix of exactly these tokens."""
        block = session.block = self.prefixes.join(ids)
        if block.sessions == 1 and block.slot.arena is not None:
            self.worth.used("prefix")

    def leave(self, session: Session) -> None:
        """It does not begin with its prefix any more."""
        block, session.block = session.block, None
        if block is not None and self.prefixes.leave(block):
            self.worth.rests("prefix", block.slot, 0)

    # ------------------------------------------------------------ room

    def place(self, session: Session, length: int) -> bool:
        """Room for `length` own tokens, taken from who does not run; False where all is in use."""
        return self._place(self.own, session.slot, length)

    def place_prefix(self, block: Block) -> bool:
        """The same for a shared prefix."""
        if block.slot.arena is None:
            while self.prefixes.full() and (loose := self.prefixes.loose(self._in_use())):
                self._evict(min(loose, key=self._worth))
        return self._place(self.prefixes.store, block.slot, len(block.ids))

    def _place(self, store: Store, slot: Slot, length: int) -> bool:
        while not self._room.place(store, slot, length):
            victim = self._victim()
            if victim is None:
                return False
            self._evict(victim)
        return True

    def _victim(self) -> Session | Block | None:
        """Of those that rest whoever is worth least; else the youngest that waits; else a prefix of one that does."""
        resting: list[Session | Block] = [*self.idle, *self.prefixes.loose(self._in_use(waiting=True))]
        if resting:
            return min(resting, key=self._worth)
        young = next((session for session in reversed(self._waiting) if session.slot.arena is not None), None)
        return young or min(self.prefixes.loose(self._in_use()), key=self._worth, default=None)

    def evict_idle(self) -> bool:
        """Take the KV of an idle conversation; False where there is none."""
        if self.idle:
            self._evict(min(self.idle, key=self._worth))
            return True
        return False

    def _evict(self, holder: Session | Block) -> None:
        self.worth.evicted(_kind(holder), holder.slot)
        self._stats.evictions += 1
        if isinstance(holder, Block):
            self.prefixes.drop(holder)
            return
        self.idle.pop(holder, None)
        self.drop(holder)
        if holder.block is not None:  # perhaps nobody holds it fast any more
            self.worth.stamp(holder.block.slot, 0)

    def _in_use(self, *, waiting: bool = False) -> list[Block]:
        held = (*self._running, *self.idle, *(self._waiting if waiting else ()))
        return [s.block for s in held if s.block is not None]

    def _worth(self, holder: Session | Block) -> float:
        return self.worth.of(_kind(holder), holder.slot)


def _kind(holder: Session | Block) -> Kind:
    return "prefix" if isinstance(holder, Block) else "conversation"
