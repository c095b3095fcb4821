"""What a simulated pipeline amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Tally:
    """Sums while it runs. `waiting` holds episode-seconds by resource."""

    waiting: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("place", "box", "engine", "environment", "grading"), 0.0)
    )
    learner_busy: float = 0.0
    used: int = 0
    used_turns: int = 0
    planned: int = 0
    planned_turns: int = 0
    staleness: list[int] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """Figures of one pipeline.

    seconds: virtual time until the last step was learned and published;  episodes: those that were learned from
    engines_busy, learner_busy: shares of the time in which they computed, for something that was used or not
    waiting: seconds an episode spent at each resource, on average over those used (wasted attempts are in it)
    staleness: versions between asking for a group and using it, on average;  worst: the most
    length_bias: turns of the episodes used over turns of those asked for; 1 where no length is favoured
    counts: what the scheduler counted
    """

    seconds: float
    episodes: int
    episodes_per_hour: float
    engines_busy: float
    learner_busy: float
    waiting: Mapping[str, float]
    staleness: float
    worst_staleness: int
    length_bias: float
    step_seconds: tuple[float, ...]
    counts: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def outcome(tally: Tally, seconds: float, engine_seconds: float, engines: int, counts: Mapping[str, int]) -> Outcome:
    """From sums to figures."""
    used = max(tally.used, 1)
    planned = tally.planned_turns / max(tally.planned, 1)
    return Outcome(
        seconds=seconds,
        episodes=tally.used,
        episodes_per_hour=3600 * tally.used / seconds if seconds else 0.0,
        engines_busy=engine_seconds / (engines * seconds) if seconds else 0.0,
        learner_busy=tally.learner_busy / seconds if seconds else 0.0,
        waiting={name: total / used for name, total in tally.waiting.items()},
        staleness=sum(tally.staleness) / max(len(tally.staleness), 1),
        worst_staleness=max(tally.staleness, default=0),
        length_bias=(tally.used_turns / used) / planned if tally.used and planned else 1.0,
        step_seconds=tuple(tally.step_seconds),
        counts=dict(counts),
    )
