"""THE loop: stages in order, each resumable from its last commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from repodojo.audit import finds
from repodojo.core.errors import OutageError, UserError
from repodojo.core.records import Task, Trajectory
from repodojo.evaluate.summary import calibration_of, ran_tests_first
from repodojo.inference import checkpoint
from repodojo.inference.decoder import Decoder
from repodojo.inference.devices import device_of
from repodojo.learner import checkpoints
from repodojo.learner.optim import OptimizerSettings
from repodojo.learner.steps import Learner
from repodojo.rollout.pool import WorkerPool
from repodojo.train import measure, rollouts, setup
from repodojo.train.config import Config
from repodojo.train.cursor import Draw, TaskCursor
from repodojo.train.events import Silent, Watcher
from repodojo.train.guard import Guard
from repodojo.train.rundir import RunDir, RunState
from repodojo.train.stages import Span, spans
from repodojo.train.tasksets import Cursor, Find, TaskSets
from repodojo.train.trackers import open_trackers


def train(run: RunDir, watcher: Watcher | None = None, *, through: str = "") -> Path:
    """Carry a run to its end, from wherever it stands; returns the folder of the final model.

    through: the stage with whose end to stop, if not the last; a later call goes on after it
    """
    from repodojo.train import rft, rl, sft

    if run.state.done or (through and run.state.stage == f"{through}-done"):
        return run.latest_checkpoint() or setup.model_path(run.config)
    stages = {"sft": sft.run, "rft": rft.run, "rl": rl.run}
    with Training(run, watcher or Silent()) as training:
        for name in training.stages_left():
            stages[name](training)
            if name == through:
                return training.model
        training.commit("done", 0, done=True)
    try:
        rollouts.record(run)
    except UserError as error:  # a set that cannot be written to must not fail a run that is done
        (watcher or Silent()).phase(f"not written beside the tasks (`tasks refresh --run` reads the run): {error}", 0)
    return run.latest_checkpoint() or setup.model_path(run.config)


class Training:
    """What the stages share: the run, the pool, the place among the tasks, the policy version.

    find, open_pool: where tasks and workers come from; None for the task set on disk and worker processes
    """

    def __init__(
        self,
        run: RunDir,
        watcher: Watcher,
        *,
        find: Find | None = None,
        open_pool: Callable[[Config, Path], WorkerPool] | None = None,
    ) -> None:
        self.run, self.config, self.watcher = run, run.config, watcher
        self.spans = spans(run.config)
        self.task_sets = TaskSets(run.config, find)
        self._open_pool = open_pool or partial(setup.open_pool, writes=True)
        self.tasks: list[Task] = self.task_sets.of(run.config)
        ids = [task.id for task in self.tasks]
        state = run.state
        own = bool(run.config.stages) or run.config.tasks.sampling != "epochs"  # RL then has a cursor of its own
        weights = setup.task_weights(run.config, ids)
        self.cursor: Cursor = (
            TaskCursor.restore(ids, state.cursor, weights)
            if state.cursor and not (own and state.stage.startswith("rl"))
            else TaskCursor.over(ids, run.config.run.seed, weights)
        )
        self.version = state.version
        self.in_flight: dict[str, Draw] = {}
        self.model = run.latest_checkpoint() or setup.model_path(run.config)
        self.guard = Guard(run, self.task_sets.all(self.spans))
        self.pool: WorkerPool = self._open_pool(run.config, self.model)
        self.kept: dict[str, Any] = {}  # what the last checkpoint holds beside the learner
        self.opened_on = state.checkpoint  # the checkpoint that a worker which dies is started anew from
        self.trackers = open_trackers(run)

    def __enter__(self) -> Training:
        try:
            staged = self.run.config.stages and self.run.state.stage.startswith("rl")  # which opens workers of its own
            if self.version and not staged:  # resumed: workers' tokens must carry the version that their weights have
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
        return Learner(self.policy(self.model), optimizer=optimizer, **self._learner_settings())

    def policy(self, folder: Path) -> Decoder:
        """A checkpoint's model, where the learner computes."""
        return checkpoint.load(folder).to(device_of(self.config.model.device))

    def resumed_learner(self, stage: str, optimizer: OptimizerSettings) -> Learner:
        """The learner of a stage in progress, exactly as it was committed; else a new one."""
        folder = self.run.latest_checkpoint()
        if self.run.state.stage != stage or folder is None:
            return self.new_learner(optimizer)
        learner, self.kept = checkpoints.load(
            folder, policy=self.policy, optimizer=optimizer, **self._learner_settings()
        )
        return learner

    def _learner_settings(self) -> dict[str, Any]:
        model = self.config.model
        how = {"dtype": model.dtype, "token_budget": model.token_budget, "recompute": model.recompute}
        return {**how, "seed": self.config.run.seed}

    def settle_in(self, span: Span, *, fresh: bool) -> None:
        """The tasks of a stage and the place among them: a fresh one, or where the run was stopped."""
        self.cursor = self.task_sets.cursor(self.run, span, None if fresh else self.run.state.cursor)

    def reopen(self, span: Span) -> None:
        """Workers with a stage's limits, on the newest checkpoint."""
        self.pool.close()
        self.pool, self.opened_on = self._open_pool(span.config, self.model), self.model.name
        if self.version:
            self.pool.publish(self.version, checkpoint.read_weights(self.model))

    def publish(self, learner: Learner) -> None:
        """New weights to every worker, as a new policy version."""
        self.version += 1
        drain = self.config.rollout.publish == "drained"
        self.pool.publish(self.version, learner.weights(), drain=drain)

    def scheduling(self) -> dict[str, int]:
        """What the scheduler did so far: retries, deadlines_missed, cancelled, stale_groups, hung_workers."""
        names = ("retries", "deadlines_missed", "cancelled", "stale_groups", "hung_workers")
        return {f"scheduler_{name}": self.pool.scheduler.counts[name] for name in names}

    def workers(self) -> dict[str, float]:
        """What engines and boxes did so far: tokens, KV given up, boxes that were ready and seconds waited for one."""
        counts = self.pool.counts()
        taken = counts.get("boxes_taken", 0.0)
        found = {name: value for name, value in counts.items() if name.startswith("engine_")}
        found |= {"boxes_taken": taken, "rollout_threads": counts.get("threads", 0.0)}
        found["boxes_ready_rate"] = counts.get("boxes_ready", 0.0) / max(taken, 1.0)
        return {**found, "boxes_wait_seconds": counts.get("boxes_waited", 0.0) / max(taken, 1.0)}

    def checkpoint(self, name: str, learner: Learner, extra: Mapping[str, Any] | None = None) -> None:
        """Write weights, optimiser and `extra`; it counts once a commit names it."""
        tokenizer = setup.model_path(self.config)
        self.kept = dict(extra or {})
        self.run.checkpoint(name, lambda folder: checkpoints.save(learner, folder, tokenizer=tokenizer, extra=extra))
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

    def keep_finds(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Save what an attacker found; nothing for any other policy."""
        if not self.config.attacker.enabled:
            return {}
        return {"finds": len(finds.keep(trajectories, setup.finds(self.config)))}

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
            **measure.command_accuracy(scored),
            **calibration_of(scored),
            **measure.part_means(scored, setup.formula(self.config).names()),
        }


def refuse_outage(trajectories: Sequence[Trajectory]) -> None:
    """OutageError where not one of these episodes has a score: a run must not go through its tasks learning nothing."""
    trajectories = [t for t in trajectories if not t.score.quarantined]
    if trajectories and all(t.score.value is None for t in trajectories):
        cause = f"all of {len(trajectories)} episodes met an outage, the last: {trajectories[-1].score.error}"
        raise OutageError(cause, way_out="see what `repodojo doctor` says, then resume the run")
