"""How many of the accelerators should only learn: tried out on the virtual clock.

RollArt (arXiv 2512.22560) gains 1.66x by setting this ratio to the workload. The trials are of a pipeline small enough
to take seconds, with the same environments an engine and the same episodes a step and engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from repodojo.rollout.simulation.compare import compare
from repodojo.rollout.simulation.techniques import Size, Techniques
from repodojo.rollout.simulation.workload import Workload

SHARES = (0.125, 0.25, 0.375, 0.5, 0.625)
_ENGINES, _STEPS = 64, 6


def best_share(workload: Workload, techniques: Techniques, size: Size, shares: Sequence[float] = SHARES) -> float:
    """The learner's share with most episodes an hour; of equal ones the first. 0 where one engine must do both."""
    if size.engines == 1:
        return 0.0
    small = trial_size(size)
    fit = {f"{share:g}": share for share in shares if 0 < round(small.engines * share) < small.engines}
    if not fit:  # two or three engines: one of them learns
        return 1 / size.engines
    tried = {name: replace(techniques, learner_share=share) for name, share in fit.items()}
    found = compare(workload, tried, small)
    return fit[max(found, key=lambda name: found[name].episodes_per_hour)]


def trial_size(size: Size) -> Size:
    """A pipeline of at most 64 engines in the same proportions, for six steps.

    >>> trial_size(Size(10_000, 1_000, groups=1_250, steps=3))
    Size(environments=640, engines=64, groups=80, group_size=8, steps=6)
    """
    engines = min(size.engines, _ENGINES)
    scale = engines / size.engines
    groups, environments = max(1, round(size.groups * scale)), max(engines, round(size.environments * scale))
    return replace(size, engines=engines, environments=environments, groups=groups, steps=_STEPS)
