"""Multi-turn reinforcement learning: groups in, one optimiser pass, weights out. Synchronous is staleness 0."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from repodojo.algorithms.batches import Assembled, assemble, sample
from repodojo.core.records import Trajectory
from repodojo.learner.steps import Learner
from repodojo.rollout.groups import GroupQueue
from repodojo.train import border, measure, setup
from repodojo.train.config import Config
from repodojo.train.gathering import Gathering
from repodojo.train.idle import recipe_of
from repodojo.train.loop import Training, refuse_outage
from repodojo.train.memory import Memory
from repodojo.train.noise import with_outliers
from repodojo.train.signs import details, signs
from repodojo.train.stages import Span

__all__ = ["Gathering", "evaluate", "run"]


def run(training: Training) -> None:
    """Steps until the configured number is done; each is committed, so a kill costs one step at most."""
    first = training.run.state.step if training.run.state.stage == "rl" else 0
    training.watcher.phase("reinforcement learning", training.spans[-1].end)
    training.watcher.advance(first)
    training.guard.refuse()
    learner = None
    for span in training.spans:
        if first < span.end or span is training.spans[-1]:
            learner = border.enter(training, span, learner, max(first, span.first))
            _steps(training, span, learner, max(first, span.first))
    training.commit("rl-done", 0)


def _steps(training: Training, span: Span, learner: Learner, first: int) -> None:
    """The steps of one stage."""
    stage = _Stage(training, span, learner)
    if stage.recipe.kl:
        learner.reference = training.policy(_began_with(training))
        if span.yarn is not None:
            learner.reference.stretch(span.yarn)
    for step in range(first, span.end):
        stage.step(step)


@dataclass
class _Played:
    """What a step learns from: its episodes, their groups with what is paid for them, and the batch they make."""

    gathered: Gathering
    groups: int
    assembled: Assembled
    seconds: float


class _Stage:
    """One stage of the curriculum: sample, learn, publish, write down, commit."""

    def __init__(self, training: Training, span: Span, learner: Learner) -> None:
        self.training, self.span, self.learner = training, span, learner
        self.config, self.recipe = span.config, recipe_of(span.config)
        self.queue = GroupQueue(training.pool, span.config.rollout.take)
        self.memory = Memory(training, span)

    def step(self, step: int) -> None:
        """One step, committed at its end."""
        started = time.monotonic()
        played = self._sample(step)
        metrics, times = self._learn(step, played)
        self.training.run.add(played.gathered.seen, stage="rl", step=step)
        took = time.monotonic() - started
        tokens = sum(len(turn.action_ids) for t in played.gathered.seen for turn in t.turns)
        times |= {"learn_seconds": took - played.seconds, "tokens_per_second": tokens / took}
        self._tell(step, played, metrics, times)
        self._commit(step, played.gathered)

    def _sample(self, step: int) -> _Played:
        """Groups of the step, without those that the monitor withholds, as a batch."""
        started, training = time.monotonic(), self.training
        training.pool.lend(self.config.rollout.lent_threads)
        self.memory.before_step(training)
        gathered = Gathering(training, self.queue, step, self.span, self.memory.prefixes)
        groups = list(gathered.groups())
        refuse_outage(gathered.seen)
        gathered.seen, groups = training.guard.judge(gathered.seen, groups)
        training.pool.lend(0)
        seconds = time.monotonic() - started
        paid = with_outliers(groups, self.config.reward.outliers, self.config.run.seed)
        assembled = assemble(paid, self.recipe, training.version, partial(turn_values, self.learner))
        return _Played(gathered, len(groups), assembled, seconds)

    def _learn(self, step: int, played: _Played) -> tuple[Mapping[str, float], dict[str, float]]:
        """One pass over the batch, while workers play ahead, then the new weights go out; metrics and times."""
        batch = self.memory.mixed(played.assembled.batch, step)
        played.gathered.ask_ahead()
        cpu = time.process_time()
        metrics: Mapping[str, float] = {}
        with self.training.pool.serving() if self.queue.in_flight() else contextlib.nullcontext():
            if batch.samples:
                metrics = self.learner.rl_step(batch, self.recipe, _minibatches(self.config, played.assembled))
        learned, times = time.monotonic(), {"learn_cpu_seconds": time.process_time() - cpu}
        self.training.publish(self.learner)
        return metrics, {**times, "rollout_seconds": played.seconds, "publish_seconds": time.monotonic() - learned}

    def _tell(self, step: int, played: _Played, metrics: Mapping[str, float], times: Mapping[str, float]) -> None:
        """Every figure of the step."""
        training, seen = self.training, played.gathered.seen
        values = {
            **training.describe(seen),
            **training.guard.metrics(seen),
            **training.keep_finds(seen),
            **metrics,
            **times,
            **training.workers(),
            **_counts(training, played.gathered, played.groups),
            **self.memory.after_step(seen),
        }
        values |= signs(seen, played.assembled, metrics, alarm=self.config.rl.mismatch_alarm)
        training.log("rl", step, values, details(played.assembled, self.recipe))
        training.watcher.advance(1, f"solved {values['solve_rate']:.1%}")

    def _commit(self, step: int, gathered: Gathering) -> None:
        """Keep the weights and the place; a run that is stopped goes on behind this."""
        training, name = self.training, f"rl-{step + 1:05d}"
        training.checkpoint(name, self.learner, self.memory.extra())
        if self.config.rl.eval_every and (step + 1) % self.config.rl.eval_every == 0:
            evaluate(training, step)
        gathered.settle()
        training.commit("rl", step + 1, checkpoint=name)
        borders = [f"rl-{other.end:05d}" for other in training.spans if other.name]  # what each stage came to
        spare = ("sft", "rft", training.opened_on, *borders)
        training.run.prune(self.config.run.keep_checkpoints, spare=spare)
        training.guard.refuse()


def turn_values(learner: Learner, trajectories: Sequence[Trajectory]) -> list[list[float]]:
    """The critic's V before each turn, replayed ones too; 0 where a turn has no token."""
    found = learner.values([sample(replace(t, labels={})) for t in trajectories])
    return [
        [own.pop(0) if turn.action_ids else 0.0 for turn in t.turns] for t, own in zip(trajectories, found, strict=True)
    ]


def _counts(training: Training, gathered: Gathering, groups: int) -> dict[str, float]:
    """Groups, what the scheduler did, and where in the curriculum it happened."""
    found: dict[str, float] = {"groups": groups, "groups_tried": gathered.tried, "groups_stale": gathered.stale}
    found.update(training.scheduling())
    if gathered.span.name:
        found["curriculum_stage"] = gathered.span.number
    return found


def _began_with(training: Training) -> Path:
    """The model that RL began with, which a KL term pulls towards: what the stage before made, or the configured."""
    before = training.config.run.stages[: training.config.run.stages.index("rl")]
    return training.run.path / "checkpoints" / before[-1] if before else setup.model_path(training.config)


def _minibatches(config: Config, assembled: Assembled) -> int:
    """Optimiser steps of this batch."""
    rl = config.rl
    return math.ceil(len(assembled.batch.samples) / rl.minibatch_size) if rl.minibatch_size else rl.minibatches


def evaluate(training: Training, step: int) -> None:
    """Measure the newest checkpoint on eval.split, in workers of its own: those that train may be playing ahead."""
    config = training.config
    tasks = asyncio.run(setup.fitting(config, config.eval.split, config.eval.tasks))
    with setup.open_pool(config, training.model, beside=training.pool) as pool:
        found = measure.episodes(
            pool, tasks, attempts=config.eval.attempts, seed=config.run.seed, name=f"eval/{step + 1}"
        )
    training.run.add(found, stage="eval", step=step)
    values = training.describe(found)
    training.log("eval", step, values)
    training.guard.checked(values["solve_rate"])
