"""Several policies on the same workload, on as many processes as there are cores where that pays."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial

from repodojo.core.machine import cores
from repodojo.rollout.simulation.outcome import Outcome
from repodojo.rollout.simulation.pipeline import simulate
from repodojo.rollout.simulation.techniques import Size, Techniques
from repodojo.rollout.simulation.workload import Workload

WORTH_A_PROCESS = 20_000
"""Episodes of a policy from which on a further process gains more than its start and its own plans cost."""


def compare(
    workload: Workload,
    policies: Mapping[str, Techniques],
    size: Size,
    *,
    processes: int | None = None,
    on_policy: Callable[[str], None] = lambda _: None,
) -> dict[str, Outcome]:
    """What each policy makes of it, in the order given; equal to simulating one after the other.

    `processes` None: one a core for large sizes, else this one alone. `on_policy` hears of each that is done.
    """
    count = min(_processes(size) if processes is None else processes, len(policies))
    found: dict[str, Outcome] = {}
    if count <= 1:
        for name, techniques in policies.items():
            found[name] = simulate(workload, techniques, size)
            on_policy(name)
        return found
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of whatever threads run here
    with ProcessPoolExecutor(count, context, initializer=_begin, initargs=(workload, size)) as pool:
        asked = {pool.submit(_one, techniques): name for name, techniques in policies.items()}
        for future in as_completed(asked):
            found[asked[future]] = future.result()
            on_policy(asked[future])
    return {name: found[name] for name in policies}


def _processes(size: Size) -> int:
    if size.groups * size.group_size * size.steps < WORTH_A_PROCESS:
        return 1
    return cores()


_RUNS: list[Callable[[Techniques], Outcome]] = []
"""Of a process of `compare`: its workload keeps the plans that it drew for the policies that come after."""


def _begin(workload: Workload, size: Size) -> None:
    _RUNS.append(partial(simulate, workload, size=size))


def _one(techniques: Techniques) -> Outcome:
    return _RUNS[-1](techniques)
