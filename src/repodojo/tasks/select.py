"""Which mutant to try next: kinds are kept even, functions take turns."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from repodojo.tasks.mutate import Mutant, mutants
from repodojo.tasks.plan import Plan


@dataclass(frozen=True)
class Candidate:
    """A mutant of a planned function, under a key of its own."""

    key: str
    plan: Plan
    mutant: Mutant


Propose = Callable[[Plan, random.Random], Sequence[Mutant]]
"""What may be done to a planned function."""


def _mutants(plan: Plan, rng: random.Random, *, kinds: Sequence[str], per_kind: int) -> list[Mutant]:
    return mutants(plan.function.text.source, plan.function, rng, kinds, per_kind=per_kind)


class Selector:
    """Hands out candidates. The kind with the fewest kept (and in flight) comes next; a function gives at most
    `per_function` tasks; no more than `limit` are kept (0: no limit). `propose` gives what to try (default: injected
    bugs of `kinds`)."""

    def __init__(
        self,
        plans: Sequence[Plan],
        kinds: Sequence[str],
        seed: int,
        limit: int,
        per_function: int,
        propose: Propose | None = None,
    ) -> None:
        self.propose = propose or partial(_mutants, kinds=kinds, per_kind=per_function)
        self.limit, self.per_function = limit, per_function
        self.pools: dict[str, deque[Candidate]] = {kind: deque() for kind in kinds}
        self.kept: Counter[str] = Counter()
        self.of_function: Counter[str] = Counter()
        self.pending: Counter[str] = Counter()
        self.made = 0
        self._fill(plans, seed)

    def _fill(self, plans: Sequence[Plan], seed: int) -> None:
        rounds: list[tuple[int, float, Candidate]] = []
        for plan in plans:
            rng = random.Random(f"{seed}:{plan.function.focus}")
            turn: Counter[str] = Counter()
            for mutant in self.propose(plan, rng):
                turn[mutant.kind] += 1
                rounds.append((turn[mutant.kind], rng.random(), Candidate(f"{self.made}", plan, mutant)))
                self.made += 1
        for _, _, candidate in sorted(rounds, key=lambda item: item[:2]):
            self.pools[candidate.mutant.kind].append(candidate)

    def take(self, count: int) -> list[Candidate]:
        """Up to `count` candidates to try; fewer where the limit is near, none where nothing is left to do."""
        chosen: list[Candidate] = []
        while len(chosen) < count and (candidate := self._next()):
            self.pending[candidate.mutant.kind] += 1
            self.pending[candidate.plan.function.focus] += 1
            chosen.append(candidate)
        return chosen

    def _next(self) -> Candidate | None:
        in_flight = sum(self.pending[kind] for kind in self.pools)
        if self.limit and self.kept.total() + in_flight * 0.4 >= self.limit:
            return None
        kinds = sorted((k for k, pool in self.pools.items() if pool), key=lambda k: self.kept[k] + self.pending[k])
        for kind in kinds:
            pool = self.pools[kind]
            while pool:
                candidate = pool.popleft()
                if self.of_function[candidate.plan.function.focus] < self.per_function:
                    return candidate
        return None

    def settle(self, candidate: Candidate, good: bool) -> bool:
        """Book what became of a candidate; True where it is kept."""
        self.pending[candidate.mutant.kind] -= 1
        self.pending[candidate.plan.function.focus] -= 1
        full = self.limit and self.kept.total() >= self.limit
        room = self.of_function[candidate.plan.function.focus] < self.per_function
        if not good or full or not room:
            return False
        self.kept[candidate.mutant.kind] += 1
        self.of_function[candidate.plan.function.focus] += 1
        return True
