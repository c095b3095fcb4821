"""THE loop: stages in order, each resumable from its last commit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repodojo.core.errors import OutageError
from repodojo.core.records import Task, Trajectory
from repodojo.evaluate.summary import ran_tests_first
from repodojo.inference import checkpoint
from repodojo.learner import checkpoints
from repodojo.learner.optim import OptimizerSettings
from repodojo.learner.steps import Learner
from repodojo.rollout.pool import WorkerPool
from repodojo.train import measure, setup
from repodojo.train.cursor import Draw, TaskCursor
from repodojo.train.events import Silent, Watcher
from repodojo.train.guard import Guard
from repodojo.train.rundir import RunDir, RunState
from repodojo.train.trackers import open_trackers


def train(run: RunDir, watcher: Watcher | None = None) -> Path:
    """Carry a run to its end, from wherever it stands; returns the folder of the final model."""
    from repodojo.train import rft, rl

    if run.state.done:
        return run.latest_checkpoint() or setup.model_path(run.config)
    stages = {"rft": rft.run, "rl": rl.run}
    with Training(run, watcher or Silent()) as training:
        for name in training.stages_left():
            stages[name](training)
        training.commit("done", 0, done=True)
    return run.latest_checkpoint() or setup.model_path(run.config)


class Training:
    """What the stages share: the run, the pool, the place among the tasks, the policy version."""

    def __init__(self, run: RunDir, watcher: Watcher) -> None:
        self.run, self.config, self.watcher = run, run.config, watcher
        tasks = run.config.tasks
        self.tasks: list[Task] = asyncio.run(setup.fitting(run.config, tasks.split, tasks.limit, writes=True))
        ids = [task.id for task in self.tasks]
        state = run.state
        self.cursor = (
            TaskCursor.restore(ids, state.cursor) if state.cursor else TaskCursor.over(ids, run.config.run.seed)
        )
        self.version = state.version
        self.in_flight: dict[str, Draw] = {}
        self.model = run.latest_checkpoint() or setup.model_path(run.config)
        self.guard = Guard(run, self.tasks)
        self.pool: WorkerPool = setup.open_pool(run.config, self.model, writes=True)
        self.trackers = open_trackers(run)

    def __enter__(self) -> Training:
        try:
            if self.version:  # a resumed run: its workers' tokens must carry the version that their weights have
                self.pool.publish(self.version, checkpoint.read_weights(self.model))
        except BaseException:  # a stopped start leaves no workers either
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()
        self.trackers.close()

    def stages_left(self) -> list[str]:
        """Stages that are not done yet, the one in progress first."""
        stages: Sequence[str] = self.config.run.stages
        stage = self.run.state.stage
        done = stage.removesuffix("-done") if stage.endswith("-done") else ""
        if done:
            return list(stages[stages.index(done) + 1 :])
        return list(stages[stages.index(stage) :]) if stage else list(stages)

    def new_learner(self, optimizer: OptimizerSettings) -> Learner:
        """A learner on the current weights with a fresh optimiser."""
        return Learner(checkpoint.load(self.model), optimizer=optimizer, **self._learner_settings())

    def resumed_learner(self, stage: str, optimizer: OptimizerSettings) -> Learner:
        """The learner of a stage in progress, exactly as it was committed; else a new one."""
        folder = self.run.latest_checkpoint()
        if self.run.state.stage != stage or folder is None:
            return self.new_learner(optimizer)
        return checkpoints.load(folder, optimizer=optimizer, **self._learner_settings())[0]

    def _learner_settings(self) -> dict[str, Any]:
        model = self.config.model
        how = {"dtype": model.dtype, "token_budget": model.token_budget, "recompute": model.recompute}
        return {**how, "seed": self.config.run.seed}

    def publish(self, learner: Learner) -> None:
        """New weights to every worker, as a new policy version."""
        self.version += 1
        drain = self.config.rollout.publish == "drained"
        self.pool.publish(self.version, learner.weights(), drain=drain)

    def scheduling(self) -> dict[str, int]:
        """What the scheduler did so far: retries, deadlines_missed, cancelled, stale_groups, hung_workers."""
        names = ("retries", "deadlines_missed", "cancelled", "stale_groups", "hung_workers")
        return {f"scheduler_{name}": self.pool.scheduler.counts[name] for name in names}

    def checkpoint(self, name: str, learner: Learner) -> None:
        """Write weights and optimiser; it counts once a commit names it."""
        tokenizer = setup.model_path(self.config)
        self.run.checkpoint(name, lambda folder: checkpoints.save(learner, folder, tokenizer=tokenizer))
        self.model = self.run.path / "checkpoints" / name

    def commit(self, stage: str, step: int, *, checkpoint: str = "", done: bool = False) -> None:
        """Make everything so far count."""
        cursor = self.cursor.give_back(self.in_flight.values()).state()
        state = RunState(stage=stage, step=step, version=self.version, cursor=cursor, done=done)
        self.run.commit(state, checkpoint=checkpoint)

    def log(self, stage: str, step: int, values: Mapping[str, float], details: Mapping[str, Any] | None = None) -> None:
        """To the trackers and to whoever watches; `details` are no numbers and go to metrics.jsonl alone."""
        self.trackers.log(stage, step, values, details)
        self.watcher.metrics(stage, step, values)

    def describe(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """What a set of episodes amounts to; what has no score is counted and left out of every rate."""
        scored = [t for t in trajectories if t.score.value is not None]
        count = max(len(scored), 1)
        turns = [turn for t in scored for turn in t.turns]
        results = [result for turn in turns for result in turn.results[: len(turn.calls)]]

        def share(flags: Sequence[Any], of: int = count) -> float:
            return sum(bool(flag) for flag in flags) / max(of, 1)

        return {
            "episodes": len(trajectories),
            "outages": sum(t.score.value is None and not t.score.quarantined for t in trajectories),
            "solve_rate": share([t.score.solved for t in scored]),
            "reward": sum(t.score.value or 0.0 for t in scored) / count,
            "submit_rate": share([t.stop_reason == "submit" for t in scored]),
            "tested_before_submit": share([ran_tests_first(t) for t in scored]),
            "turns": len(turns) / count,
            "tokens_sampled": sum(len(turn.action_ids) for turn in turns) / count,
            "format_error_rate": share([turn.format_error for turn in turns], len(turns)),
            "tool_error_rate": share([result.error for result in results], len(results)),
            **measure.part_means(scored, setup.formula(self.config).names()),
        }


def refuse_outage(trajectories: Sequence[Trajectory]) -> None:
    """OutageError where not one of these episodes has a score: a run must not go through its tasks learning nothing."""
    trajectories = [t for t in trajectories if not t.score.quarantined]
    if trajectories and all(t.score.value is None for t in trajectories):
        cause = f"all of {len(trajectories)} episodes met an outage, the last: {trajectories[-1].score.error}"
        raise OutageError(cause, way_out="see what `repodojo doctor` says, then resume the run")
