"""Rejection fine-tuning: sample, keep what passed, imitate it once or twice (Golubev et al., arXiv 2508.03501)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from repodojo.algorithms.batches import samples_of
from repodojo.core.records import Trajectory
from repodojo.learner.optim import OptimizerSettings
from repodojo.rollout.orders import group_orders
from repodojo.train.guard import released_episodes
from repodojo.train.imitation import batches
from repodojo.train.loop import Training, refuse_outage

CHUNK = 32  # tasks between two commits: what a kill can cost


def run(training: Training) -> None:
    """Sample what is still missing, then train on what passed, then publish."""
    _collect(training)
    _imitate(training)


def _collect(training: Training) -> None:
    config, run = training.config, training.run
    chunks = -(-config.rft.tasks // CHUNK)
    training.watcher.phase("rejection sampling", config.rft.tasks * config.rft.attempts)
    first = run.state.step if run.state.stage == "rft" else 0
    training.watcher.advance(first * CHUNK * config.rft.attempts)
    for chunk in range(first, chunks):
        count = min(CHUNK, config.rft.tasks - chunk * CHUNK)
        draws, cursor = training.cursor.take(count)
        orders = group_orders(
            [draw.task_id for draw in draws],
            size=config.rft.attempts,
            prefix=f"rft/{chunk}",
            seed=config.run.seed,
            temperature=config.rollout.temperature,
        )
        found = []
        for trajectory in training.pool.run(orders):
            found.append(training.guard.screen(trajectory))
            training.watcher.advance(1)
        refuse_outage(found)
        run.add(found, stage="rft", step=chunk)
        values = {**training.describe(found), **training.guard.metrics(found), **training.keep_finds(found)}
        training.log("rft", chunk, values)
        training.cursor = cursor
        training.commit("rft", chunk + 1)


def _imitate(training: Training) -> None:
    config = training.config
    ids = [row["id"] for row in training.run.query("stage = 'rft' AND reward >= 1")]
    freed = [t for t in released_episodes(training.run, "rft") if t.score.solved]
    passed = [*(training.run.load(i) for i in ids), *freed]
    kept = list(_kept(sorted(passed, key=lambda t: t.id), config.rft.keep_per_task))
    errors, refused = config.rft.mask_format_errors, config.rft.mask_tool_errors
    samples = [made for t in kept for made in samples_of(t, mask_format_errors=errors, mask_tool_errors=refused)]
    rft = config.rft
    steps = list(
        batches(samples, epochs=rft.epochs, tokens=rft.batch_tokens, most=rft.batch_size, seed=config.run.seed)
    )
    settings = OptimizerSettings(
        learning_rate=config.rft.learning_rate,
        warmup=min(config.rft.warmup, len(steps) // 4),
        schedule="cosine",
        total_steps=max(len(steps), 1),
        grad_clip=1.0,
    )
    training.watcher.phase("rejection fine-tuning", len(steps))
    learner = training.new_learner(settings)
    for step, batch in enumerate(steps):
        metrics = learner.sft_step(batch)
        training.log("rft-learn", step, metrics)
        training.watcher.advance(1, f"loss {metrics['loss']:.3f}")
    training.publish(learner)
    training.checkpoint("rft", learner)
    training.log("rft", -(-config.rft.tasks // CHUNK), {"kept": len(kept), "passed": len(passed)})
    training.commit("rft-done", 0, checkpoint="rft")


def _kept(passed: Sequence[Trajectory], per_task: int) -> Iterator[Trajectory]:
    """The first passing episodes of each task that end by submitting, no two with the same actions.

    Not the shortest: those were right at once, and teach nothing about what to do when the tests stay red.
    """
    by_task: dict[str, list[Trajectory]] = {}
    for trajectory in passed:
        if trajectory.score.solved and trajectory.stop_reason == "submit":
            by_task.setdefault(trajectory.task_id, []).append(trajectory)
    for found in by_task.values():
        seen: set[tuple[str, ...]] = set()
        for trajectory in found:
            actions = tuple(turn.text for turn in trajectory.turns)
            if actions not in seen and len(seen) < per_task:
                seen.add(actions)
                yield trajectory
