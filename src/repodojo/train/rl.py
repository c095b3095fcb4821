"""Multi-turn reinforcement learning: groups in, one optimiser pass, weights out. Synchronous is staleness 0."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
    config, recipe = span.config, recipe_of(span.config)
    queue = GroupQueue(training.pool, config.rollout.take)
    memory = Memory(training, span)
    borders = [f"rl-{other.end:05d}" for other in training.spans if other.name]  # what each stage came to
    if recipe.kl:
        learner.reference = training.policy(_began_with(training))
        if span.yarn is not None:
            learner.reference.stretch(span.yarn)
    for step in range(first, span.end):
        started = time.monotonic()
        training.pool.lend(config.rollout.lent_threads)
        memory.before_step(training)
        gathered = Gathering(training, queue, step, span, memory.prefixes)
        groups = list(gathered.groups())
        refuse_outage(gathered.seen)
        gathered.seen, groups = training.guard.judge(gathered.seen, groups)
        training.pool.lend(0)
        sampled = time.monotonic()
        paid = with_outliers(groups, config.reward.outliers, config.run.seed)
        assembled = assemble(paid, recipe, training.version, partial(turn_values, learner))
        batch = memory.mixed(assembled.batch, step)
        gathered.ask_ahead()
        cpu = time.process_time()
        metrics: Mapping[str, float] = {}
        with training.pool.serving() if queue.in_flight() else contextlib.nullcontext():
            if batch.samples:
                metrics = learner.rl_step(batch, recipe, _minibatches(config, assembled))
        learned, learned_cpu = time.monotonic(), time.process_time()
        training.publish(learner)
        training.run.add(gathered.seen, stage="rl", step=step)
        ended = time.monotonic()
        times = {"rollout_seconds": sampled - started, "learn_seconds": ended - sampled}
        times |= {"publish_seconds": ended - learned, "learn_cpu_seconds": learned_cpu - cpu}
        tokens = sum(len(turn.action_ids) for t in gathered.seen for turn in t.turns)
        times["tokens_per_second"] = tokens / (ended - started)
        times |= training.workers()
        values = {
            **training.describe(gathered.seen),
            **training.guard.metrics(gathered.seen),
            **training.keep_finds(gathered.seen),
            **metrics,
            **times,
            **_counts(training, gathered, len(groups)),
            **memory.after_step(gathered.seen),
        }
        values |= signs(gathered.seen, assembled, metrics, alarm=config.rl.mismatch_alarm)
        training.log("rl", step, values, details(assembled, recipe))
        training.watcher.advance(1, f"solved {values['solve_rate']:.1%}")
        name = f"rl-{step + 1:05d}"
        training.checkpoint(name, learner, memory.extra())
        if config.rl.eval_every and (step + 1) % config.rl.eval_every == 0:
            evaluate(training, step)
        gathered.settle()
        training.commit("rl", step + 1, checkpoint=name)
        training.run.prune(config.run.keep_checkpoints, spare=("sft", "rft", training.opened_on, *borders))
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
