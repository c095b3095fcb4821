"""The synchronous pipeline against each technique and all of them, simulated on heavy-tailed environments.

Theirs: a synchronous loop, whole groups to an engine, boxes made and graded in place, every turn prefilled anew. Ours:
each technique of `repodojo simulate` alone, then all. `ratio` is episodes an hour of all over the synchronous loop's
with NO environment that hangs: with them, a pipeline without deadlines waits for its half an hour in every step, and
the ratio would measure that assumption (`ratio_with_hangs`). Virtual time: the machine's load does not matter.

With --live nothing is simulated but the costs: the real scheduler, agent loop, episode edge and stock of boxes play on
a fake engine and in fake boxes that take real seconds (`_live`), of which `live.toml` says how many: steps of the
environment from a heavy tail. `foretold` is what the simulator says of the same plans.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from repodojo.cli.benches._live import play
from repodojo.rollout.simulation.compare import compare
from repodojo.rollout.simulation.pipeline import simulate
from repodojo.rollout.simulation.techniques import Size, Techniques, alone
from repodojo.rollout.simulation.workload import Drawn, Figures
from repodojo.train.simulation import usual_deadline

SEEDS = (0, 1, 2)
REDUNDANCY, STALENESS, LEARNER_SHARE = 2, 2, 0.25


LIVE = Path(__file__).with_name("live.toml")
QUICK = ("asynchronous", "all")


def run(quick: bool, live: bool = False) -> dict[str, Any]:
    """1,000 engines, 10,000 environments, groups of 8, 3 steps (quick: a hundredth of it, one seed)."""
    if live:
        return _live(quick)
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
    chosen = {name: known[name] for name in only} if only else known
    found = compare(work, {"synchronous": Techniques(), **chosen}, size)
    base = found.pop("synchronous").episodes_per_hour
    return {name: outcome.episodes_per_hour / base for name, outcome in found.items()}


def _live(quick: bool) -> dict[str, Any]:
    """8 engines, 64 environments, 16 groups of 4, 4 steps (quick: 2 engines, 8 environments, 2 steps of 2 groups)."""
    size = Size(8, 2, groups=2, group_size=4, steps=2) if quick else Size(64, 8, groups=16, group_size=4, steps=4)
    share = 0.5 if quick else LEARNER_SHARE
    work = Drawn(Figures.read(LIVE), seed=0)
    deadline = usual_deadline(work, size.environments // size.engines)
    known = alone(deadline, 1, STALENESS, share)
    del known["lockstep"]  # nothing here can play so
    techniques = {name: known[name] for name in ("synchronous", *(QUICK if quick else list(known)[1:]))}
    began = time.process_time(), time.monotonic()
    played = {name: play(work, one, size) for name, one in techniques.items()}
    busy = (time.process_time() - began[0]) / (time.monotonic() - began[1])
    rates = {name: outcome.episodes_per_hour for name, (outcome, _) in played.items()}
    foretold = {name: simulate(work, one, size).seconds for name, one in techniques.items()}
    boxes = played["all"][1]
    return {
        "ratio": rates["all"] / rates["synchronous"],
        "alone": {name: round(rate / rates["synchronous"], 3) for name, rate in rates.items() if name != "synchronous"},
        "seconds": {name: round(outcome.seconds, 2) for name, (outcome, _) in played.items()},
        "foretold": {name: round(seconds, 2) for name, seconds in foretold.items()},
        "length_bias": {name: round(outcome.length_bias, 3) for name, (outcome, _) in played.items()},
        "boxes_ready_rate": boxes["ready"] / max(boxes["taken"], 1),
        "cpu_share": busy,
        "engines": size.engines,
        "environments": size.environments,
        "figures": LIVE.name,
    }
