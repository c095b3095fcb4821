"""From a configuration or a recorded run to simulated pipelines: sizes, techniques, and how well a run is foretold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repodojo.core.errors import RunError
from repodojo.rollout.simulation.pipeline import simulate
from repodojo.rollout.simulation.techniques import Size, Techniques
from repodojo.rollout.simulation.workload import Costs, Recorded, Workload
from repodojo.train.config import Config
from repodojo.train.recorded import recorded, rounds, shares
from repodojo.train.rundir import RunDir


def size_of(config: Config) -> Size:
    """The pipeline that a configuration describes: a worker is an engine with its share of the concurrency."""
    rollout, rl = config.rollout, config.rl
    return Size(
        environments=max(rollout.concurrency, rollout.workers),
        engines=rollout.workers,
        groups=rl.groups_per_step,
        group_size=rollout.group_size,
        steps=max(rl.steps, 1),
    )


def techniques_of(config: Config) -> Techniques:
    """What `repodojo train` does with this configuration. Its boxes are made when they are first needed."""
    rollout = config.rollout
    return Techniques(
        spread=rollout.spread,
        prefix=True,
        grade_apart=True,
        warm=config.sandbox.prepared > 0,
        redundancy=rollout.redundancy,
        finish=rollout.finish,
        deadline=rollout.deadline,
        staleness=rollout.max_staleness,
        take=rollout.take,
        in_flight=rollout.publish == "in-flight",
    )


def usual_deadline(workload: Workload, batch: int, share: float = 0.99) -> float:
    """Seconds that this share of episodes stays within where nothing hangs, with `batch` sequences at an engine."""
    plans = [plan for index in range(100) for plan in workload.group(index, 8)]
    return float(np.quantile([plan.seconds(workload.costs, batch) for plan in plans], share))


@dataclass(frozen=True)
class Foretold:
    """What the simulator says of a synchronous run, and what it took: seconds of sampling, learning and publishing."""

    steps: int
    predicted: float
    recorded: float

    @property
    def error(self) -> float:
        """Relative: above zero where the simulator says too much."""
        return self.predicted / self.recorded - 1


def foretell(run: RunDir, source: RunDir | None = None) -> Foretold:
    """Simulate each RL step of `run` and compare; costs of engine and learner are those of `source` (None: its own).

    The episodes are those of the run itself, in the rounds that it asked for them: after its first groups a step waits
    for all of them before it asks for others in place of those without signal. Costs of another run are first set to
    how busy the machine was: divided by the share of a core that this run's engines and learner got, times what the
    other's got, where both recorded it.
    RunError where the run is not synchronous: its steps overlap.
    """
    if run.config.rollout.max_staleness:
        raise RunError(f"{run.path} overlaps its steps", way_out="compare with a run of rollout.max_staleness = 0")
    costs = recorded(run) if source is None else _at_speed_of(run, source)
    techniques, size = techniques_of(run.config), size_of(run.config)
    predicted = took = 0.0
    lines = [line for line in run.metrics() if line["stage"] == "rl"]
    for line in lines:
        for groups in rounds(run, line["step"]):
            work = Recorded(groups, costs.costs, costs.token_seconds, costs.sync_seconds)
            one = Size(size.environments, size.engines, len(groups), size.group_size, steps=1)
            predicted += simulate(work, techniques, one).seconds
        predicted += costs.sync_seconds
        took += line["rollout_seconds"] + line["learn_seconds"]
    return Foretold(len(lines), predicted, took)


def _at_speed_of(run: RunDir, source: RunDir) -> Recorded:
    """The source's costs as they would be on a machine as busy as it was during `run`."""
    costs, theirs, ours = recorded(source), shares(source), shares(run)
    if theirs is None or ours is None:
        return costs
    slower, learner_slower = theirs.engine / ours.engine, theirs.learner / ours.learner
    scaled = Costs(**{name: value * slower for name, value in costs.costs.model_dump().items()})
    seconds = costs.token_seconds * learner_slower, costs.sync_seconds * learner_slower
    return Recorded(costs.groups, scaled, *seconds)
