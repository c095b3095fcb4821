"""Supervised fine-tuning on answers that the tasks hold themselves: it makes a model that can answer code edits at all,
as the shipped base cannot. Bugs and features have no such answer: what mends them is an episode, not a text."""

from __future__ import annotations

import time
from collections.abc import Sequence

from repodojo.agent import prompts
from repodojo.core.editing import expected, is_edit
from repodojo.core.errors import TaskError
from repodojo.core.records import Sample, Task
from repodojo.inference.chat import ChatFormat
from repodojo.learner.optim import OptimizerSettings
from repodojo.train import setup
from repodojo.train.imitation import batches
from repodojo.train.loop import Training

STAGE = "sft"
KEEP_EVERY = 20.0  # seconds between two commits: what a kill can cost


def run(training: Training, *, keep_every: float = KEEP_EVERY) -> None:
    """Imitate every task's answer `sft.epochs` times, then publish; `keep_every` seconds it is committed."""
    sft, run = training.config.sft, training.run
    chat = ChatFormat.load(setup.model_path(training.config))
    found = batches(answers(training.tasks, chat), epochs=sft.epochs, tokens=sft.batch_tokens, seed=run.config.run.seed)
    steps = list(found)
    settings = OptimizerSettings(
        learning_rate=sft.learning_rate,
        warmup=min(sft.warmup, len(steps) // 4),
        schedule="cosine",
        total_steps=len(steps),
    )
    first = run.state.step if run.state.stage == STAGE else 0
    training.watcher.phase("supervised fine-tuning", len(steps))
    training.watcher.advance(first)
    learner, kept = training.resumed_learner(STAGE, settings), time.monotonic()
    for step in range(first, len(steps)):
        metrics = learner.sft_step(steps[step])
        training.log(STAGE, step, metrics)
        training.watcher.advance(1, f"loss {metrics['loss']:.3f}")
        if time.monotonic() - kept >= keep_every and step + 1 < len(steps):
            name = f"{STAGE}-{step + 1:05d}"
            training.checkpoint(name, learner)
            training.commit(STAGE, step + 1, checkpoint=name)
            run.prune(1, spare=(training.opened_on,))
            kept = time.monotonic()
    if training.config.run.stages[-1] != STAGE:  # else no worker has to be started for it
        training.publish(learner)
    training.checkpoint(STAGE, learner)
    training.commit(f"{STAGE}-done", 0, checkpoint=STAGE)
    run.prune(1, spare=(training.opened_on,))


def answers(tasks: Sequence[Task], chat: ChatFormat) -> list[Sample]:
    """Each task's prompt and answer; only the answer and the token that ends it count. TaskError for other tasks."""
    if other := next((task for task in tasks if not is_edit(task)), None):
        cause = f"task {other.id} holds no answer that could be imitated: stage sft is for code edits"
        raise TaskError(cause, way_out="leave sft out of run.stages, or name a set of edits")
    return [_sample(task, chat) for task in tasks]


def _sample(task: Task, chat: ChatFormat) -> Sample:
    prompt = chat.prompt(prompts.messages(task, None), ())
    answer = [*chat.encode(expected(task)), chat.stop_ids[0]]
    ids = (*prompt, *answer)
    mask = (*(False for _ in prompt), *(True for _ in answer))
    return Sample(ids, mask, (), 1.0, task.id)
