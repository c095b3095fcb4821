"""One order played and scored. This is the edge where an outage becomes a score of None, and nothing else does."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace

from repodojo.agent.loop import AgentLimits, Played, play
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
    retries: int = 2
    memo: MutableMapping[tuple[str, str], ExecResult] | None = field(default_factory=dict)


async def run_order(order: Order, task: Task, policy: Policy, stage: Stage) -> Trajectory:
    """Play until there is a score, `retries` times more after outages; then a score of None that names the last."""
    error: OutageError | None = None
    played = Played(stop_reason="outage")
    for _ in range(stage.retries + 1):
        try:
            played, base = await _play(task, policy, order, stage)
            trajectory = _trajectory(order, policy.name, played, Score(None), base)
            score = await stage.reward.score(task, played.changes, trajectory)
            if score.value is not None:
                return replace(trajectory, score=score)
            error = OutageError(score.error)
        except OutageError as outage:
            error = outage
            await asyncio.sleep(0)
    name = error.cause if type(error) is OutageError else type(error).__name__
    return _trajectory(order, policy.name, Played(played.turns, "outage"), Score(None, name), {})


async def _play(task: Task, policy: Policy, order: Order, stage: Stage) -> tuple[Played, Mapping[str, str]]:
    """The episode, and the base text of each file that it changed (for the diff that people read)."""
    box = await stage.boxes.create(task.environment)
    try:
        actor = policy.actor(order.seed)
        played = await play(task, actor, box, stage.chat, tools=stage.tools, limits=stage.limits, memo=stage.memo)
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
