"""From a configuration to the parts of a run: the base, the tasks, the pool of workers."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from repodojo.agent import prompts
from repodojo.agent.condense import Condensing
from repodojo.agent.focus import retrieve
from repodojo.agent.kit import Kit, toolset
from repodojo.agent.loop import AgentLimits
from repodojo.agent.mcp.client import equipped
from repodojo.audit.finds import beside
from repodojo.core.codec import from_json
from repodojo.core.editing import is_edit
from repodojo.core.errors import CheckpointError, ConfigError, TaskError
from repodojo.core.protocols import Limits, Reward, SandboxFactory
from repodojo.core.records import Split, Task
from repodojo.inference.chat import ChatFormat
from repodojo.inference.checkpoint import architecture
from repodojo.inference.devices import device_of
from repodojo.rewards.compose import composed
from repodojo.rewards.formula import Formula
from repodojo.rewards.graders.graded import GradedReward
from repodojo.rollout.orders import PoolSettings
from repodojo.rollout.pool import WorkerPool
from repodojo.rollout.rules import Rules
from repodojo.sandbox.factory import LocalFactory
from repodojo.tasks.store import TaskStore
from repodojo.train.config import Config
from repodojo.train.servers import servers


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
    device_of(config.model.device)
    store = TaskStore(Path(config.tasks.store))
    task_weights(config, [task.id for task in store.tasks(config.tasks.split)] if config.tasks.weights else ())


def task_weights(config: Config, task_ids: Sequence[str]) -> dict[str, float]:
    """How often tasks are drawn (tasks.weights); {} where that is not set.

    TaskError where the file is none of `repodojo feedback import`, or names none of the tasks, and so would do nothing.
    """
    if not config.tasks.weights:
        return {}
    path = Path(config.tasks.weights)
    way_out = "name a weights.json of `repodojo feedback import`"
    try:
        found = from_json(WeightsFile, path.read_text(encoding="utf-8"), where=str(path)).weights
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} cannot be read: {error}", way_out=way_out) from None
    if wrong := [task for task, weight in found.items() if not 0 < weight < math.inf]:
        raise TaskError(f"{path}: the weight of {wrong[0]} is not above 0", way_out=way_out)
    kept = {task: found[task] for task in task_ids if task in found}
    if not kept:
        raise TaskError(f"{path} names none of the {len(task_ids)} tasks", way_out="use the ids of tasks in feedback")
    return kept


@dataclass(frozen=True)
class WeightsFile:
    """weights.json: weight by task id."""

    format: Literal[1]
    weights: Mapping[str, float]


def pool_settings(config: Config, model: Path | None = None, *, writes: bool = False) -> PoolSettings:
    """The settings of a run's workers; those of training leave notes (see `kit`), those that measure do not."""
    agent, box = config.agent, config.sandbox
    return PoolSettings(
        store=config.tasks.store,
        model=str(model or model_path(config)),
        dtype=config.model.dtype,
        agent=AgentLimits(
            max_turns=agent.max_turns,
            max_tokens=agent.max_tokens,
            max_context=agent.max_context,
            max_seconds=agent.max_seconds,
            context=agent.context,
            system=system(config),
            parallel_calls=agent.parallel_calls,
            show_budget=agent.show_budget,
            condensing=Condensing(int(config.context.condense_at * agent.max_context), config.context.keep_turns),
        ),
        box=box_limits(config),
        reward=formula(config),
        kit=kit(config, writes=writes),
        concurrency=max(1, config.rollout.concurrency // config.rollout.workers),
        kv_mb=config.rollout.kv_mb,
        kv_after_publish=config.rollout.kv_after_publish,
        attention=config.rollout.attention,
        device=config.model.device,
        prepared_boxes=box.prepared,
        memo_tests=agent.memo_tests,
        allow_unisolated=box.allow_unisolated,
        init=box.init,
        attacker=config.attacker.enabled,
        command=_command(agent.command, agent.preload),
        preload=agent.preload,
        servers=servers(config),
    )


def system(config: Config) -> str:
    """What the policy is told to be."""
    return prompts.ATTACKER if config.attacker.enabled else prompts.SYSTEM


def finds(config: Config) -> Path:
    """Where an attacker's finds are kept."""
    return Path(config.attacker.finds) if config.attacker.finds else beside(Path(config.tasks.store))


def box_limits(config: Config) -> Limits:
    """What a run's boxes may use."""
    box = config.sandbox
    return Limits(seconds=box.seconds, memory_mb=box.memory_mb, processes=box.processes, disk_mb=box.disk_mb)


def _command(command: str, preload: Sequence[str]) -> str:
    """The command that is the agent, once it is known that it can be run; ConfigError where not."""
    if command:
        from repodojo.gateway.command import parse

        if not importlib.util.find_spec("fastapi") or not importlib.util.find_spec("uvicorn"):
            raise ConfigError("agent.command needs fastapi and uvicorn", way_out="pip install 'repodojo[serve]'")
        parsed = parse(command)
        if preload:
            parsed.python()
    return command


def kit(config: Config, *, writes: bool = False) -> Kit:
    """The agent's tools and its knowledge of the project; `writes` lets it leave notes there."""
    agent = config.agent
    memory = agent.memory or str(Path(config.run.dir) / "memory.db")
    return Kit(
        agent.sources,
        agent.observation_chars,
        agent.tool_chars,
        memory,
        writes,
        agent.mcp,
        agent.keep_rest,
        agent.confidence,
    )


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
    return Formula(r.weights, r.gates, r.cap, r.partial, r.partial_cap, r.checks, r.tokens_target)


def open_boxes(config: Config) -> LocalFactory:
    """The boxes that a run's workers work and grade in."""
    box = config.sandbox
    store = Path(config.tasks.store)
    return LocalFactory(store, limits=box_limits(config), allow_unisolated=box.allow_unisolated, init=box.init)


def reward(config: Config, boxes: SandboxFactory) -> Reward:
    """What a run's workers score with."""
    return composed(GradedReward(boxes), boxes, formula(config))


def open_pool(
    config: Config, model: Path | None = None, *, writes: bool = False, beside: WorkerPool | None = None
) -> WorkerPool:
    """Workers that are not started yet. `beside`: a pool that published `model` last, and whose servers go on."""
    settings = pool_settings(config, model, writes=writes)
    if beside is not None:
        settings = beside.beside(settings)
    return WorkerPool(settings, config.rollout.workers, rules(config))


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
        listing = None
        if not is_edit(task):  # an edit has neither a box nor tools
            box = await boxes.create(task.environment)  # lazy: reading alone makes no box
            listing = await retrieve(box, task.focus) if config.agent.context == "focus" else None
            if not schemas:  # what servers offer is the same for every task
                async with equipped(tools, box) as all_tools:
                    schemas = all_tools.schemas()
        messages = prompts.messages(task, listing, system(config))
        opening = chat.prompt(messages, () if is_edit(task) else schemas)
        if config.agent.command or len(opening) <= config.tasks.max_prompt_tokens:
            kept.append(task)
    await boxes.close()
    if not kept:
        cause = f"none of {len(tasks)} tasks of split '{split}' in {store} fits"
        raise TaskError(cause, way_out="raise tasks.max_prompt_tokens, or make tasks for that split")
    refuse_idle_parts(config, kept)
    return kept


def refuse_idle_parts(config: Config, tasks: Sequence[Task]) -> None:
    """ConfigError where parts of the reward can do nothing with any of these tasks."""
    given = formula(config)
    if not any(map(is_edit, tasks)):
        if "edit" in given.partial:
            raise ConfigError("reward.partial: edit would do nothing: no task is a code edit", way_out="leave it out")
        return
    idle = [name for name in given.names() if name != "edit"]
    if idle and all(map(is_edit, tasks)):
        raise ConfigError(
            f"reward: {idle[0]} would do nothing: every task is a code edit, which runs in no box",
            way_out="leave it out; reward.partial={edit = WEIGHT} is what edits have",
        )
