"""One order played and scored. This is the edge where an outage becomes a score of None, and nothing else does."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace

from repodojo.agent.loop import AgentLimits, Played, play
from repodojo.agent.mcp.client import equipped
from repodojo.agent.policy import Policy
from repodojo.agent.tools import Toolset
from repodojo.core.errors import OutageError
from repodojo.core.protocols import ExecResult, Reward, Sandbox, SandboxFactory
from repodojo.core.records import Score, Task, Trajectory
from repodojo.inference.chat import ChatFormat
from repodojo.rollout.orders import Order


@dataclass
class Stage:
    """What an episode needs around it; one a worker."""

    boxes: SandboxFactory
    reward: Reward
    chat: ChatFormat
    tools: Toolset
    limits: AgentLimits
    memo: MutableMapping[tuple[str, str], ExecResult] | None = field(default_factory=dict)


async def run_order(
    order: Order, task: Task, policy: Policy, stage: Stage, slot: AbstractAsyncContextManager[object] | None = None
) -> Trajectory:
    """One attempt, played and scored; a score of None that names the outage where it met one.

    `slot` is held while the episode plays and given back before it is graded, so that grading holds nobody up.
    """
    played, started = Played(stop_reason="outage"), 0.0
    try:
        async with slot or nullcontext():
            started = time.time()
            played, base = await _play(task, policy, order, stage)
        trajectory = _trajectory(order, policy.name, played, Score(None), base)
        grading = time.monotonic()
        score = await stage.reward.score(task, played.changes, trajectory)
        timings = {"started": started, "grading": time.monotonic() - grading}
        trajectory = replace(trajectory, score=score, timings=timings)
        if score.value is not None:
            return trajectory
        error = score.error
    except OutageError as outage:
        error = outage.cause if type(outage) is OutageError else type(outage).__name__
    return _trajectory(order, policy.name, Played(played.turns, "outage"), Score(None, error), {})


def unplayed(order: Order, error: str) -> Trajectory:
    """What stands for an episode that nobody brought back."""
    return _trajectory(order, order.policy, Played(stop_reason="outage"), Score(None, error), {})


async def _play(task: Task, policy: Policy, order: Order, stage: Stage) -> tuple[Played, Mapping[str, str]]:
    """The episode, and the base text of each file that it changed (for the diff that people read)."""
    box = await stage.boxes.create(task.environment)
    try:
        actor = policy.actor(order.seed)
        name = (order.id, order.group_id)
        async with equipped(stage.tools, box) as tools:
            played = await play(
                task, actor, box, stage.chat, tools=tools, limits=stage.limits, memo=stage.memo, name=name
            )
    finally:
        await box.close()
    base: dict[str, str] = {}
    if played.changes:
        clean = await stage.boxes.create(task.environment)
        try:
            for path in played.changes:
                base[path] = await _text(clean, path)
        finally:
            await clean.close()
    return played, base


async def _text(box: Sandbox, path: str) -> str:
    try:
        return (await box.read(path)).decode("utf-8", "replace")
    except OSError:  # not there, or a folder: an agent may put a file where the base has one
        return ""


def _trajectory(order: Order, policy: str, played: Played, score: Score, base: Mapping[str, str]) -> Trajectory:
    changes = {p: None if d is None else d.decode("utf-8", "replace") for p, d in played.changes.items()}
    return Trajectory(
        id=order.id,
        task_id=order.task_id,
        group_id=order.group_id,
        policy=policy,
        seed=order.seed,
        turns=tuple(played.turns),
        stop_reason=played.stop_reason,
        score=score,
        diff="".join(_diff(path, base.get(path, ""), changes[path] or "") for path in sorted(changes)),
        changes=changes,
        seconds=played.seconds,
    )


def _diff(path: str, before: str, after: str) -> str:
    lines = (before.splitlines(keepends=True), after.splitlines(keepends=True))
    found = difflib.unified_diff(*lines, fromfile=f"a/{path}", tofile=f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found)
