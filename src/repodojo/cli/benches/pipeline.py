"""The synchronous pipeline against each technique and all of them, simulated on heavy-tailed environments.

Theirs: a synchronous loop, whole groups to an engine, boxes made and graded in place, every turn prefilled anew. Ours:
each technique of `repodojo simulate` alone, then all. `ratio` is episodes an hour of all over the synchronous loop's
with NO environment that hangs: with them, a pipeline without deadlines waits for its half an hour in every step, and
the ratio would measure that assumption (`ratio_with_hangs`). Virtual time: the machine's load does not matter.
"""

from __future__ import annotations

import statistics
from typing import Any

from repodojo.rollout.simulation.pipeline import simulate
from repodojo.rollout.simulation.techniques import Size, Techniques, alone
from repodojo.rollout.simulation.workload import Drawn, Figures
from repodojo.train.simulation import usual_deadline

SEEDS = (0, 1, 2)
REDUNDANCY, STALENESS, LEARNER_SHARE = 2, 2, 0.25


def run(quick: bool) -> dict[str, Any]:
    """1,000 engines, 10,000 environments, groups of 8, 3 steps (quick: a hundredth of it, one seed)."""
    size = Size(100, 10, groups=12, steps=3) if quick else Size(10_000, 1_000, groups=1_250, steps=3)
    seeds = SEEDS[:1] if quick else SEEDS
    figures = Figures.read()
    calm = figures.model_copy(update={"environment": figures.environment.model_copy(update={"hangs": 0.0})})
    first = _gains(calm, size, seeds[0])
    more = [_gains(calm, size, seed, only=("all", "all-stratified")) for seed in seeds[1:]]
    everything = [first["all"], *(gains["all"] for gains in more)]
    fair = [first["all-stratified"], *(gains["all-stratified"] for gains in more)]
    return {
        "ratio": statistics.median(everything),
        "ratio_low": min(everything),
        "ratio_high": max(everything),
        "ratio_stratified": statistics.median(fair),
        "ratio_with_hangs": _gains(figures, size, seeds[0], only=("all",))["all"],
        "alone": {name: round(gain, 3) for name, gain in first.items()},
        "seeds": list(seeds),
        "engines": size.engines,
        "environments": size.environments,
        "figures": "published.toml",
    }


def _gains(figures: Figures, size: Size, seed: int, only: tuple[str, ...] = ()) -> dict[str, float]:
    """Episodes an hour over those of the synchronous loop, by name."""
    work = Drawn(figures, seed)
    known = alone(usual_deadline(work, size.environments // size.engines), REDUNDANCY, STALENESS, LEARNER_SHARE)
    base = simulate(work, Techniques(), size).episodes_per_hour
    return {
        name: simulate(work, known[name], size).episodes_per_hour / base
        for name in only or [name for name in known if name != "synchronous"]
    }
