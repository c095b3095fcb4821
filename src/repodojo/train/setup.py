"""From a configuration to the parts of a run: the base, the tasks, the pool of workers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from repodojo.agent import prompts
from repodojo.agent.focus import retrieve
from repodojo.agent.kit import Kit, toolset
from repodojo.agent.loop import AgentLimits
from repodojo.agent.mcp.client import equipped
from repodojo.core.errors import CheckpointError, TaskError
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


def pool_settings(config: Config, model: Path | None = None, *, writes: bool = False) -> PoolSettings:
    """The settings of a run's workers; those of training leave notes (see `kit`), those that measure do not."""
    agent, box = config.agent, config.sandbox
    return PoolSettings(
        store=config.tasks.store,
        model=str(model or model_path(config)),
        dtype=config.model.dtype,
        agent=AgentLimits(
            agent.max_turns,
            agent.max_tokens,
            agent.max_context,
            agent.max_seconds,
            agent.context,
            agent.parallel_calls,
            agent.show_budget,
        ),
        box=Limits(seconds=box.seconds, memory_mb=box.memory_mb, processes=box.processes, disk_mb=box.disk_mb),
        reward=formula(config),
        kit=kit(config, writes=writes),
        concurrency=max(1, config.rollout.concurrency // config.rollout.workers),
        kv_mb=config.rollout.kv_mb,
        memo_tests=agent.memo_tests,
        allow_unisolated=box.allow_unisolated,
    )


def kit(config: Config, *, writes: bool = False) -> Kit:
    """The agent's tools and its knowledge of the project; `writes` lets it leave notes there."""
    agent = config.agent
    memory = agent.memory or str(Path(config.run.dir) / "memory.db")
    return Kit(agent.sources, agent.observation_chars, agent.tool_chars, memory, writes, agent.mcp, agent.keep_rest)


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


def open_pool(config: Config, model: Path | None = None, *, writes: bool = False) -> WorkerPool:
    """Workers that are not started yet."""
    return WorkerPool(pool_settings(config, model, writes=writes), config.rollout.workers, rules(config))


async def fitting(config: Config, split: Split, limit: int = 0, *, writes: bool = False) -> list[Task]:
    """Tasks of a split whose opening fits `tasks.max_prompt_tokens`, at most `limit` (0: all of them).

    A limit takes a sample over all packages, the same for every seed: ids are digests, so their order is by chance.
    TaskError where none is left.
    """
    store = Path(config.tasks.store)
    chat = ChatFormat.load(model_path(config))
    boxes = LocalFactory(store, allow_unisolated=config.sandbox.allow_unisolated)
    tools = toolset(kit(config, writes=writes))
    schemas: list[dict[str, Any]] = []
    kept: list[Task] = []
    tasks: Sequence[Task] = TaskStore(store).tasks(split)
    if limit:
        tasks = sorted(tasks, key=lambda task: task.id)
    for task in tasks:
        if limit and len(kept) == limit:
            break
        box = await boxes.create(task.environment)  # lazy: reading alone makes no box
        listing = await retrieve(box, task.focus) if config.agent.context == "focus" else None
        if not schemas:  # what servers offer is the same for every task
            async with equipped(tools, box) as all_tools:
                schemas = all_tools.schemas()
        if len(chat.prompt(prompts.messages(task, listing), schemas)) <= config.tasks.max_prompt_tokens:
            kept.append(task)
    await boxes.close()
    if not kept:
        cause = f"none of {len(tasks)} tasks of split '{split}' in {store} fits"
        raise TaskError(cause, way_out="raise tasks.max_prompt_tokens, or make tasks for that split")
    return kept
