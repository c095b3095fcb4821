"""The synchronous pipeline against each technique and all of them, simulated on heavy-tailed environments.

Theirs: a synchronous loop, whole groups to an engine, boxes made and graded in place, every turn prefilled anew. Ours:
each technique of `repodojo simulate` alone, then all, with the learner's share that trials find best. `ratio` is
episodes an hour of all over the synchronous loop's in a run of 20 steps with NO environment that hangs: with them, a
pipeline without deadlines waits for its half an hour in every step, and the ratio would measure that assumption
(`ratio_with_hangs`). `ratio_3_steps` is mostly the ramp of the first step and the tail of the last; so are those of
`alone` and with hangs. `busy` says what share of the time engines and learner compute, of sampling engines and of all
accelerators: what the synchronous loop leaves unused is what can be gained. Virtual time: load does not matter.

With --live nothing is simulated but the costs: the real scheduler, agent loop, episode edge and stock of boxes play on
a fake engine and in fake boxes that take real seconds (`_live`), of which `live.toml` says how many: steps of the
environment from a heavy tail. `foretold` is what the simulator says of the same plans.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from repodojo.cli.benches._live import play
from repodojo.rollout.simulation.compare import compare
from repodojo.rollout.simulation.outcome import Outcome
from repodojo.rollout.simulation.pipeline import simulate
from repodojo.rollout.simulation.techniques import Size, Techniques, alone
from repodojo.rollout.simulation.tuning import best_share
from repodojo.rollout.simulation.workload import Drawn, Figures
from repodojo.train.simulation import usual_deadline

SEEDS = (0, 1, 2)
REDUNDANCY, STALENESS = 2, 2
LONG = 20  # steps

LIVE = Path(__file__).with_name("live.toml")
QUICK = ("asynchronous", "all")


def run(quick: bool, live: bool = False) -> dict[str, Any]:
    """1,000 engines, 10,000 environments, groups of 8, 20 and 3 steps (quick: a hundredth of it, one seed, 3 steps)."""
    if live:
        return _live(quick)
    size = Size(100, 10, groups=12, steps=3) if quick else Size(10_000, 1_000, groups=1_250, steps=3)
    long = size if quick else replace(size, steps=LONG)
    seeds = SEEDS[:1] if quick else SEEDS
    figures = Figures.read()
    calm = figures.model_copy(update={"environment": figures.environment.model_copy(update={"hangs": 0.0})})
    share = _share(calm, size)
    short = _outcomes(calm, size, seeds[0], share)
    runs = [_outcomes(calm, long, seed, share, only=("all", "all-stratified")) for seed in seeds]
    everything, fair = ([gains(found)[name] for found in runs] for name in ("all", "all-stratified"))
    return {
        "ratio": statistics.median(everything),
        "ratio_low": min(everything),
        "ratio_high": max(everything),
        "ratio_stratified": statistics.median(fair),
        "ratio_3_steps": gains(short)["all"],
        "ratio_with_hangs": gains(_outcomes(figures, size, seeds[0], share, only=("all",)))["all"],
        "alone": {name: round(gain, 3) for name, gain in gains(short).items()},
        "busy": _busy(runs[0]),
        "learner_share": share,
        "steps": long.steps,
        "seeds": list(seeds),
        "engines": size.engines,
        "environments": size.environments,
        "figures": "published.toml",
    }


def gains(found: dict[str, Outcome]) -> dict[str, float]:
    """Episodes an hour over those of the synchronous loop, by name."""
    base = found["synchronous"].episodes_per_hour
    return {name: outcome.episodes_per_hour / base for name, outcome in found.items() if name != "synchronous"}


def _busy(found: dict[str, Outcome]) -> dict[str, list[float]]:
    return {name: [round(outcome.engines_busy, 3), round(outcome.learner_busy, 3)] for name, outcome in found.items()}


def _share(figures: Figures, size: Size) -> float:
    work = Drawn(figures, SEEDS[0])
    return best_share(work, _known(work, size, REDUNDANCY, 0.0)["all"], size)


def _known(work: Drawn, size: Size, redundancy: int, share: float) -> dict[str, Techniques]:
    return alone(usual_deadline(work, size.environments // size.engines), redundancy, STALENESS, share)


def _outcomes(figures: Figures, size: Size, seed: int, share: float, only: tuple[str, ...] = ()) -> dict[str, Outcome]:
    work = Drawn(figures, seed)
    known = _known(work, size, REDUNDANCY, share)
    return compare(work, {name: known[name] for name in ("synchronous", *(only or known))}, size)


def _live(quick: bool) -> dict[str, Any]:
    """8 engines, 64 environments, 16 groups of 4, 12 steps (quick: 2 engines, 8 environments, 2 steps of 2 groups)."""
    size = Size(8, 2, groups=2, group_size=4, steps=2) if quick else Size(64, 8, groups=16, group_size=4, steps=12)
    work = Drawn(Figures.read(LIVE), seed=0)
    share = best_share(work, _known(work, size, 1, 0.0)["all"], size)
    known = _known(work, size, 1, share)
    del known["lockstep"]  # nothing here can play so
    techniques = {name: known[name] for name in ("synchronous", *(QUICK if quick else list(known)[1:]))}
    began = time.process_time(), time.monotonic()
    played = {name: play(work, one, size) for name, one in techniques.items()}
    busy = (time.process_time() - began[0]) / (time.monotonic() - began[1])
    rates = gains({name: outcome for name, (outcome, _) in played.items()})
    foretold = {name: simulate(work, one, size) for name, one in techniques.items()}
    boxes = played["all"][1]
    return {
        "ratio": rates["all"],
        "alone": {name: round(rate, 3) for name, rate in rates.items()},
        "seconds": {name: round(outcome.seconds, 2) for name, (outcome, _) in played.items()},
        "foretold": {name: round(outcome.seconds, 2) for name, outcome in foretold.items()},
        "busy": _busy(foretold),
        "length_bias": {name: round(outcome.length_bias, 3) for name, (outcome, _) in played.items()},
        "boxes_ready_rate": boxes["ready"] / max(boxes["taken"], 1),
        "cpu_share": busy,
        "learner_share": share,
        "steps": size.steps,
        "engines": size.engines,
        "environments": size.environments,
        "figures": LIVE.name,
    }
