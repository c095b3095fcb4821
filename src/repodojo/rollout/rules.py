"""What the scheduler is told once: redundancy, deadlines, retries, staleness; and how far rollout may run ahead."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Finish = Literal["first", "stratified"]
Spread = Literal["group", "member"]
Take = Literal["asked", "finished"]
FEWEST_RETRIES = 16  # a short run may try again this often, whatever its budget's share comes to


@dataclass(frozen=True)
class Rules:
    """How episodes are placed, given up and finished. Seconds are of whatever clock the caller counts by.

    max_staleness: versions a group may lag behind what is published before it is cancelled
    retries: further attempts of one episode after an outage;  retry_share: bound on all retries, as a share of
    the episodes asked for (never fewer than FEWEST_RETRIES)
    deadline: seconds from an attempt's start to its cancellation; 0: none
    grace: seconds that a worker has to obey a cancellation before it is taken for hung and replaced
    finish: which members make a group that has more than it needs (see `dropped_ranks`)
    spread: whole groups to one worker, whose prompt is then computed once, or each member to the least loaded
    """

    max_staleness: int = 0
    retries: int = 2
    retry_share: float = 0.5
    deadline: float = 0.0
    grace: float = 30.0
    finish: Finish = "first"
    spread: Spread = "group"


@dataclass(frozen=True)
class Pace:
    """How many groups to ask for, so that none is used more than `staleness` versions after it was asked for.

    A group asked for at version v may be used up to step v + staleness, so at most (staleness + 1) steps' worth is in
    hand or in flight at once (the bound of AReaL, arXiv 2505.24298). Staleness 0 is the synchronous loop.

    >>> Pace(groups=16, staleness=0).gathering(kept=3, in_flight=10, steps_left=9)
    3
    """

    groups: int
    staleness: int

    def gathering(self, kept: int, in_flight: int, steps_left: int) -> int:
        """Groups to ask for while a step is gathered; `kept` of its own are in hand."""
        return max(self.groups * (1 + min(self.staleness, steps_left)) - kept - in_flight, 0)

    def learning(self, in_flight: int, steps_left: int) -> int:
        """Groups to ask for when a step's groups are complete and the learner begins."""
        return max(self.groups * min(self.staleness, steps_left) - in_flight, 0)


def dropped_ranks(group_id: str, size: int, redundant: int) -> frozenset[int]:
    """Under "stratified": the ranks, in order of finishing, that a group of `size` leaves out; as many as `redundant`.

    Systematic sampling: one rank from each of `redundant` strata of equal width, at one random offset that the
    group's id alone decides. So every rank, the fastest and the slowest, is left out with the same probability
    redundant / size, and what is kept is no shorter on average than what was started. The price: the slowest member is
    waited for in all but that share of the groups.

    >>> sorted(len(dropped_ranks("g", 10, r)) for r in range(3))
    [0, 1, 2]
    """
    offset = random.Random(group_id).random()
    return frozenset(int((i + offset) * size / redundant) for i in range(redundant))
