"""From a configuration to the parts of a run: the base, the tasks, the pool of workers."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from repodojo.agent import prompts
from repodojo.agent.focus import retrieve
from repodojo.agent.loop import AgentLimits
from repodojo.agent.tools import default_tools
from repodojo.core.errors import CheckpointError, ConfigError, TaskError
from repodojo.core.protocols import Limits
from repodojo.core.records import Split, Task
from repodojo.inference.chat import ChatFormat
from repodojo.inference.checkpoint import architecture
from repodojo.rewards.formula import Formula
from repodojo.rollout.orders import PoolSettings
from repodojo.rollout.pool import WorkerPool
from repodojo.rollout.rules import Rules
from repodojo.sandbox.factory import LocalFactory
from repodojo.tasks.store import TaskStore
from repodojo.train.config import Config

OBSERVATION_CHARS = 400


def base_path() -> Path:
    """The folder of the base that ships with the package."""
    path = Path(str(files("repodojo") / "assets" / "base"))
    if not (path / "model.safetensors").is_file():
        raise CheckpointError("this installation ships no base", way_out="name a model with --set model.path=FOLDER")
    return path


def model_path(config: Config) -> Path:
    """The model a run begins with."""
    return Path(config.model.path) if config.model.path else base_path()


def check(config: Config) -> None:
    """UserError where the model or the task set that a run would need is not there, before anything is written."""
    architecture(model_path(config))
    TaskStore(Path(config.tasks.store))


def pool_settings(config: Config, model: Path | None = None) -> PoolSettings:
    """The settings of a run's workers."""
    agent, box = config.agent, config.sandbox
    return PoolSettings(
        store=config.tasks.store,
        model=str(model or model_path(config)),
        dtype=config.model.dtype,
        agent=AgentLimits(agent.max_turns, agent.max_tokens, agent.max_context, agent.max_seconds, agent.context),
        box=Limits(seconds=box.seconds, memory_mb=box.memory_mb, processes=box.processes, disk_mb=box.disk_mb),
        reward=formula(config),
        observation_chars=OBSERVATION_CHARS,
        concurrency=max(1, config.rollout.concurrency // config.rollout.workers),
        kv_mb=config.rollout.kv_mb,
        memo_tests=agent.memo_tests,
        allow_unisolated=box.allow_unisolated,
        command=_command(agent.command),
    )


def _command(command: str) -> str:
    """The command that is the agent, once it is known that it can be run; ConfigError where not."""
    if command:
        from repodojo.gateway.harness import split

        if not importlib.util.find_spec("fastapi") or not importlib.util.find_spec("uvicorn"):
            raise ConfigError("agent.command needs fastapi and uvicorn", way_out="pip install 'repodojo[serve]'")
        split(command)
    return command


def rules(config: Config) -> Rules:
    """What the scheduler of a run's workers goes by."""
    given = config.rollout
    return Rules(
        max_staleness=given.max_staleness,
        retries=given.retries,
        retry_share=given.retry_share,
        deadline=given.deadline,
        finish=given.finish,
        spread=given.spread,
    )


def formula(config: Config) -> Formula:
    """What the configuration pays."""
    r = config.reward
    return Formula(r.weights, r.gates, r.cap, r.partial, r.partial_cap, r.checks)


def open_pool(config: Config, model: Path | None = None) -> WorkerPool:
    """Workers that are not started yet."""
    return WorkerPool(pool_settings(config, model), config.rollout.workers, rules(config))


async def fitting(config: Config, split: Split, limit: int = 0) -> list[Task]:
    """Tasks of a split whose opening fits `tasks.max_prompt_tokens`, at most `limit` (0: all of them).

    A limit takes a sample over all packages, the same for every seed: ids are digests, so their order is by chance.
    TaskError where none is left.
    """
    store = Path(config.tasks.store)
    chat = ChatFormat.load(model_path(config))
    boxes = LocalFactory(store, allow_unisolated=config.sandbox.allow_unisolated)
    tools = default_tools(OBSERVATION_CHARS).schemas()
    kept: list[Task] = []
    tasks: Sequence[Task] = TaskStore(store).tasks(split)
    if limit:
        tasks = sorted(tasks, key=lambda task: task.id)
    for task in tasks:
        if limit and len(kept) == limit:
            break
        box = await boxes.create(task.environment)  # lazy: reading alone makes no box
        listing = await retrieve(box, task.focus) if config.agent.context == "focus" else None
        if (
            config.agent.command
            or len(chat.prompt(prompts.messages(task, listing), tools)) <= config.tasks.max_prompt_tokens
        ):
            kept.append(task)
    await boxes.close()
    if not kept:
        cause = f"none of {len(tasks)} tasks of split '{split}' in {store} fits"
        raise TaskError(cause, way_out="raise tasks.max_prompt_tokens, or make tasks for that split")
    return kept
