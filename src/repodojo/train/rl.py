"""Multi-turn reinforcement learning: groups in, one optimiser pass, weights out. Synchronous is staleness 0."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from repodojo.algorithms.batches import Assembled, assemble, has_signal
from repodojo.core.records import Group, Trajectory
from repodojo.inference import checkpoint
from repodojo.learner.optim import OptimizerSettings
from repodojo.rollout.groups import GroupQueue
from repodojo.rollout.orders import group_orders
from repodojo.rollout.rules import Pace
from repodojo.train import measure, setup
from repodojo.train.idle import recipe_of
from repodojo.train.loop import Training, refuse_outage
from repodojo.train.signs import details, signs


def run(training: Training) -> None:
    """Steps until the configured number is done; each is committed, so a kill costs one step at most."""
    config = training.config
    learner = training.resumed_learner("rl", _optimizer(training))
    queue = GroupQueue(training.pool, config.rollout.take)
    first = training.run.state.step if training.run.state.stage == "rl" else 0
    training.watcher.phase("reinforcement learning", config.rl.steps)
    training.watcher.advance(first)
    recipe = recipe_of(config)
    training.guard.refuse()
    if recipe.kl:
        learner.reference = checkpoint.load(_began_with(training))
    for step in range(first, config.rl.steps):
        started = time.monotonic()
        training.pool.lend(config.rollout.lent_threads)
        gathered = Gathering(training, queue, step)
        groups = list(gathered.groups())
        refuse_outage(gathered.seen)
        gathered.seen, groups = training.guard.judge(gathered.seen, groups)
        training.pool.lend(0)
        sampled = time.monotonic()
        assembled = assemble(groups, recipe, training.version)
        gathered.ask_ahead()
        cpu = time.process_time()
        metrics: Mapping[str, float] = {}
        with training.pool.serving() if queue.in_flight() else contextlib.nullcontext():
            if assembled.batch.samples:
                metrics = learner.rl_step(assembled.batch, recipe, _minibatches(training, assembled))
        learned, learned_cpu = time.monotonic(), time.process_time()
        training.publish(learner)
        training.run.add(gathered.seen, stage="rl", step=step)
        ended = time.monotonic()
        times = {"rollout_seconds": sampled - started, "learn_seconds": ended - sampled}
        times |= {"publish_seconds": ended - learned, "learn_cpu_seconds": learned_cpu - cpu}
        counts = {"groups": len(groups), "groups_tried": gathered.tried, "groups_stale": gathered.stale}
        counts.update(training.scheduling())
        times |= training.workers()
        values = {
            **training.describe(gathered.seen),
            **training.guard.metrics(gathered.seen),
            **training.keep_finds(gathered.seen),
            **metrics,
            **times,
            **counts,
        }
        values |= signs(gathered.seen, assembled, metrics, alarm=config.rl.mismatch_alarm)
        training.log("rl", step, values, details(assembled, recipe))
        training.watcher.advance(1, f"solved {values['solve_rate']:.1%}")
        name = f"rl-{step + 1:05d}"
        training.checkpoint(name, learner)
        if config.rl.eval_every and (step + 1) % config.rl.eval_every == 0:
            evaluate(training, step)
        gathered.settle()
        training.commit("rl", step + 1, checkpoint=name)
        training.run.prune(config.run.keep_checkpoints, spare=("rft",))
        training.guard.refuse()
    training.commit("rl-done", 0)


def _began_with(training: Training) -> Path:
    """The model that RL began with, which a KL term pulls towards: what RFT made, or the configured one."""
    tuned = training.run.path / "checkpoints" / "rft"
    return tuned if "rft" in training.config.run.stages else setup.model_path(training.config)


def _minibatches(training: Training, assembled: Assembled) -> int:
    """Optimiser steps of this batch."""
    rl = training.config.rl
    return math.ceil(len(assembled.batch.samples) / rl.minibatch_size) if rl.minibatch_size else rl.minibatches


def evaluate(training: Training, step: int) -> None:
    """Measure the newest checkpoint on eval.split, in workers of its own: those that train may be playing ahead."""
    config = training.config
    tasks = asyncio.run(setup.fitting(config, config.eval.split, config.eval.tasks))
    with setup.open_pool(config, training.model) as pool:
        found = measure.episodes(
            pool, tasks, attempts=config.eval.attempts, seed=config.run.seed, name=f"eval/{step + 1}"
        )
    training.run.add(found, stage="eval", step=step)
    values = training.describe(found)
    training.log("eval", step, values)
    training.guard.checked(values["solve_rate"])


def _optimizer(training: Training) -> OptimizerSettings:
    rl = training.config.rl
    return OptimizerSettings(
        learning_rate=rl.learning_rate, weight_decay=rl.weight_decay, grad_clip=rl.grad_clip, warmup=min(3, rl.steps)
    )


class Gathering:
    """The groups of one step: enough with signal, refilled a bounded number of rounds, none staler than allowed."""

    def __init__(self, training: Training, queue: GroupQueue, step: int) -> None:
        self.training, self.queue, self.step = training, queue, step
        self.config = training.config
        self.recipe = recipe_of(training.config)
        self.pace = Pace(self.config.rl.groups_per_step, self.config.rollout.max_staleness)
        self.steps_left = self.config.rl.steps - step - 1
        self.seen: list[Trajectory] = []
        self.taken: list[str] = []
        self.stale = 0

    def groups(self) -> Iterator[Group]:
        """Groups with signal, at most `groups_per_step`."""
        wanted = self.config.rl.groups_per_step
        kept = 0
        for _ in range(self.config.rl.max_refills + 1):
            self._ask(self.pace.gathering(kept, self.queue.in_flight(), self.steps_left))
            for group in self._take(wanted - kept):
                kept += 1
                yield group
            if kept >= wanted:
                return

    @property
    def tried(self) -> int:
        """Groups taken, with signal or without."""
        return len(self.taken)

    def _take(self, count: int) -> Iterator[Group]:
        for wanted in self.queue.take(count):
            assert wanted.group is not None  # it was taken
            group = self.training.guard.screen_group(wanted.group)
            self.taken.append(group.id)
            self.seen += group.trajectories
            if wanted.stale or self.training.version - wanted.version > self.config.rollout.max_staleness:
                self.stale += 1
            elif not self.recipe.drop_no_signal or has_signal(group, self.recipe):
                yield group

    def ask_ahead(self) -> None:
        """With staleness allowed, the next steps' groups are played while the learner works; none past the last."""
        self._ask(self.pace.learning(self.queue.in_flight(), self.steps_left))

    def _ask(self, count: int) -> None:
        if not count:
            return
        training, rollout = self.training, self.config.rollout
        draws, training.cursor = training.cursor.take(count)
        for draw in draws:
            orders = group_orders(
                [draw.task_id],
                size=rollout.group_size + rollout.redundancy,
                prefix=f"rl/{draw.index}",
                seed=self.config.run.seed,
                temperature=rollout.temperature,
            )
            training.in_flight[orders[0].group_id] = draw
            self.queue.ask(orders, training.version, need=rollout.group_size)

    def settle(self) -> None:
        """What was seen is no longer in flight; the rest will be taken again by a resumed run."""
        for group_id in self.taken:
            self.training.in_flight.pop(group_id, None)
