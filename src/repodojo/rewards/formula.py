"""How parts become one reward: gates, weights and caps. Correctness comes first, whatever the numbers are.

    solved:      1 + bonus       bonus = min(cap, sum of weights[p] * process[p]), 0 where a gate does not hold
    not solved:  partial         min(partial_cap, sum of partial[q] * intermediate[q]), partial_cap < 1

So process scores pay nothing without a correct answer, and nothing that is not correct is worth one that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from repodojo.rewards.checks import Check


@dataclass(frozen=True)
class Formula:
    """`gates` maps process scores to the least value without which there is no bonus at all.

    >>> formula = Formula(weights={"size": 0.2, "style": 0.2}, gates={"style": 0.5}, cap=0.3)
    >>> formula.value(True, {"size": 1.0, "style": 0.75})
    1.3
    >>> formula.value(True, {"size": 1.0, "style": 0.25}), formula.value(False, {"size": 1.0, "style": 1.0})
    (1.0, 0.0)
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    gates: Mapping[str, float] = field(default_factory=dict)
    cap: float = 0.3
    partial: Mapping[str, float] = field(default_factory=dict)
    partial_cap: float = 0.5
    checks: tuple[Check, ...] = ()
    tokens_target: int = 1000

    @property
    def plain(self) -> bool:
        """Whether the tests alone are paid."""
        return not (self.weights or self.partial or self.checks)

    def process(self) -> tuple[str, ...]:
        """The process scores that are needed."""
        return tuple(dict.fromkeys([*self.weights, *self.gates]))

    def names(self) -> tuple[str, ...]:
        """Every part that is worked out."""
        own = ["checks"] if self.checks else []
        return tuple(dict.fromkeys([*own, *self.process(), *self.partial]))

    def value(self, solved: bool, parts: Mapping[str, float]) -> float:
        """The reward. A part that is missing counts as 0."""
        if not solved:
            return min(self.partial_cap, _total(self.partial, parts))
        if any(parts.get(name, 0.0) < least for name, least in self.gates.items()):
            return 1.0
        return 1.0 + min(self.cap, _total(self.weights, parts))


def _total(weights: Mapping[str, float], parts: Mapping[str, float]) -> float:
    return sum((weight * parts.get(name, 0.0) for name, weight in weights.items()), 0.0)
