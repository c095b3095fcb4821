"""A school small enough for tests: two real tasks, and a tiny model that solves each about every second time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from repodojo.agent.loop import AgentLimits, play
from repodojo.agent.policy import ScriptedPolicy
from repodojo.agent.tools import default_tools
from repodojo.algorithms.batches import sample
from repodojo.core.records import Sample, Score, Task, Trajectory
from repodojo.inference import checkpoint
from repodojo.inference.architecture import Architecture
from repodojo.inference.chat import ChatFormat
from repodojo.inference.decoder import Decoder
from repodojo.inference.toolcalls import render
from repodojo.learner.optim import OptimizerSettings
from repodojo.learner.steps import Learner
from repodojo.rollout.orders import PoolSettings
from repodojo.sandbox.factory import LocalFactory
from repodojo.tasks.make import Options
from repodojo.tasks.session import make_all
from repodojo.tasks.store import TaskStore
from repodojo.train.pretrain import tokenizer as tokenizers

sys.path.insert(0, str(Path(__file__).parent / "tasks"))

from tiny_package import boxes, quiet, write

LIMITS = AgentLimits(max_turns=3, max_tokens=96, max_context=800)
SUBMIT = render("submit", {})
SETTINGS = (
    *("agent.max_turns=3", "agent.max_tokens=96", "agent.max_context=800", "sandbox.allow_unisolated=true"),
    *("rollout.concurrency=8", "rollout.group_size=4", 'run.trackers=["jsonl"]'),
    *("rft.tasks=2", "rft.attempts=2", "rft.epochs=1", "rft.learning_rate=1e-5"),
    *("rl.steps=2", "rl.groups_per_step=2", "rl.max_refills=1", "rl.minibatches=1", "rl.learning_rate=1e-4"),
)


def make_store(folder: Path) -> TaskStore:
    """Two tasks of the tiny package."""
    root = write(folder / "tiny-1.0")
    options = Options(limit=2, kinds=("comparison", "arithmetic", "off-by-one"))  # bugs of one line
    lines = asyncio.run(make_all([str(root)], folder / "store", options, boxes, lambda source: quiet))
    assert lines[0].error is None and lines[0].added == 2
    return TaskStore(folder / "store")


def make_model(folder: Path, store: TaskStore, tokenizer: Any) -> Path:
    """A model that learned two endings by heart for each task, equally often: mend it and submit, or submit at once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizers.save(tokenizer, folder / "tokenizer")
    architecture = Architecture("qwen3", len(tokenizer), 64, 128, 2, 4, 2, 16, max_positions=1024)
    learner = Learner(Decoder(architecture), optimizer=OptimizerSettings(learning_rate=3e-3, warmup=5))
    samples = asyncio.run(_lessons(store, ChatFormat(tokenizer)))
    for _ in range(90):
        metrics = learner.sft_step(samples)
    assert metrics["loss"] < 0.2, metrics
    checkpoint.save(learner.decoder, folder / "model", tokenizer=folder / "tokenizer")
    torch.set_num_threads(threads)
    return folder / "model"


async def _lessons(store: TaskStore, chat: ChatFormat) -> list[Sample]:
    factory = LocalFactory(store.path, allow_unisolated=True)
    try:
        tasks = store.tasks()
        return [await _lesson(t, chat, factory, turns) for t in tasks for turns in ([_mend(t), SUBMIT], [SUBMIT])]
    finally:
        await factory.close()


async def _lesson(task: Task, chat: ChatFormat, factory: LocalFactory, turns: Sequence[str]) -> Sample:
    def maker(_seed: int) -> Callable[[Sequence[str]], str]:
        return lambda texts: turns[(len(texts) - 2) // 2]

    box = await factory.create(task.environment)
    actor = ScriptedPolicy("lesson", maker, chat).actor(0)
    played = await play(task, actor, box, chat, tools=default_tools(400), limits=LIMITS)
    assert played.stop_reason == "submit" and bool(played.changes) == (len(turns) > 1), played
    return sample(Trajectory("l", task.id, "g", "lesson", 0, tuple(played.turns), "submit", Score(1.0)))


def _mend(task: Task) -> str:
    """The call that puts the sound line back."""
    assert task.gold is not None
    lines = task.gold.patch.splitlines()[2:]
    (old,) = [line[1:].strip() for line in lines if line.startswith("-")]
    (new,) = [line[1:].strip() for line in lines if line.startswith("+")]
    return render("editor", {"command": "str_replace", "old_str": old, "new_str": new})


def pool_settings(store: TaskStore, model: Path, **others: Any) -> PoolSettings:
    """Settings of a pool of these tasks."""
    given = {"agent": LIMITS, "concurrency": 8, "allow_unisolated": True, **others}
    return PoolSettings(str(store.path), str(model), **given)
