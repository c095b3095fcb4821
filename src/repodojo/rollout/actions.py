"""What the scheduler orders, and what it remembers of groups, members and workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from repodojo.rollout.rules import Finish, dropped_ranks

Ticket = tuple[str, int]
"""An attempt: the episode's id, and how often it was handed out before."""


@dataclass(frozen=True)
class Play:
    """Give these attempts to a worker."""

    worker: str
    tickets: tuple[Ticket, ...]


@dataclass(frozen=True)
class Cancel:
    """Tell a worker to stop these; the scheduler expects `gone` (or `finished`, if that was faster) for each."""

    worker: str
    tickets: tuple[Ticket, ...]


@dataclass(frozen=True)
class Replace:
    """A worker does not obey any more: end it, then report `leave`, and `join` for the new one."""

    worker: str


@dataclass(frozen=True)
class Accept:
    """An episode is over for good: with what the attempt brought or, where `failure` names an outage, without."""

    ticket: Ticket
    failure: str


@dataclass(frozen=True)
class Whole:
    """A group is complete. `kept` are its members in the order they were asked for, however they came in.

    Stale groups hold what was back when they were given up; it may be nothing.
    """

    group: str
    kept: tuple[str, ...]
    stale: bool


Action = Play | Cancel | Replace | Accept | Whole


class Member:
    """An episode of a group."""

    __slots__ = ("attempt", "group", "id", "place", "retries", "state")

    def __init__(self, name: str, group: Group, place: int) -> None:
        self.id, self.group, self.place = name, group, place
        self.attempt = self.retries = 0
        self.state: Literal["queued", "given", "back", "dropped"] = "queued"

    @property
    def ticket(self) -> Ticket:
        """Its present attempt."""
        return self.id, self.attempt

    def plays(self, ticket: Ticket) -> bool:
        """Whether this attempt is the one that counts."""
        return self.state == "given" and self.attempt == ticket[1]

    def again(self) -> None:
        """Back to the queue, under a new number: whatever still comes of the old attempt does not count."""
        self.attempt += 1
        self.state = "queued"


@dataclass
class Group:
    """Members that are compared with each other; `need` of them are enough."""

    id: str
    need: int
    version: int | None
    finish: Finish
    members: list[Member] = field(default_factory=list)
    back: list[Member] = field(default_factory=list)
    failed: list[Member] = field(default_factory=list)

    def is_whole(self) -> bool:
        """Whether enough are back, or nobody is left to wait for."""
        accounted = len(self.back) + len(self.failed) == len(self.members)
        return accounted or len(self._chosen()) >= self.need

    def kept(self) -> tuple[str, ...]:
        """At most `need` members in the order of asking: the chosen, then other successes, then failures."""
        chosen = self._chosen()
        rest = [member for member in self.back if member not in chosen] + self.failed
        return tuple(m.id for m in sorted((chosen + rest)[: self.need], key=lambda m: m.place))

    def _chosen(self) -> list[Member]:
        """Successes that the rule of finishing counts, first come first. A failure uses up one of the left-out."""
        redundant = len(self.members) - self.need
        if self.finish == "first" or not redundant:
            return self.back
        out = dropped_ranks(self.id, len(self.members), redundant)
        spare = max(redundant - len(self.failed), 0)
        left_out = [rank for rank in range(len(self.back)) if rank in out][:spare]
        return [member for rank, member in enumerate(self.back) if rank not in left_out]


@dataclass
class Worker:
    """Who plays: at most `slots` attempts are with it at once. `rank` counts workers in the order they joined.

    A condemned one is to be replaced; it gets nothing more.
    """

    id: str
    slots: int
    rank: int
    tickets: dict[Ticket, None] = field(default_factory=dict)
    condemned: bool = False

    def has_room(self, count: int) -> bool:
        """Whether `count` more fit; whoever has nothing takes any number."""
        return not self.tickets or len(self.tickets) + count <= self.slots
