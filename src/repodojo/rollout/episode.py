"""One order played and scored. This is the edge where an outage becomes a score of None, and nothing else does."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from repodojo.agent.editing import answer
from repodojo.agent.loop import AgentLimits, Played, play
from repodojo.agent.mcp.client import equipped
from repodojo.agent.policy import Act, Actor, Policy, Replaying
from repodojo.agent.tools import Toolset
from repodojo.agent.tools.base import Memo
from repodojo.core.editing import ANSWER, is_edit, unchanged
from repodojo.core.errors import OutageError
from repodojo.core.protocols import Reward, Sandbox, SandboxFactory
from repodojo.core.records import REPLAYED_TURNS, Score, Task, Trajectory
from repodojo.core.remembered import Remembered
from repodojo.inference.chat import ChatFormat
from repodojo.rollout.orders import MODEL, Order

if TYPE_CHECKING:
    from repodojo.gateway.harness import Harness


ORIGINALS = 1_000  # sets of files, with their texts


@dataclass
class Stage:
    """What an episode needs around it; one a worker. With a `harness`, a command plays the model's episodes."""

    boxes: SandboxFactory
    reward: Reward
    chat: ChatFormat
    tools: Toolset
    limits: AgentLimits
    memo: Memo | None = field(default_factory=Memo)
    harness: Harness | None = None
    originals: Remembered[tuple[str, ...], Mapping[str, str]] = field(default_factory=lambda: Remembered(ORIGINALS))


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
    if is_edit(task):
        return await answer(task, policy.actor(order.seed), stage.chat, stage.limits), {ANSWER: unchanged(task)}
    box = await stage.boxes.create(task.environment)
    try:
        if stage.harness and order.policy == MODEL:
            played = await stage.harness.play(task, box, stage.limits, temperature=order.temperature, seed=order.seed)
        else:
            actor, name = _actor(policy, order, stage), (order.id, order.group_id)
            async with equipped(stage.tools, box) as tools:
                played = await play(
                    task, actor, box, stage.chat, tools=tools, limits=stage.limits, memo=stage.memo, name=name
                )
    finally:
        await box.close()
    return played, await _originals(task, tuple(sorted(played.changes)), stage)


async def _originals(task: Task, paths: tuple[str, ...], stage: Stage) -> Mapping[str, str]:
    """What files of the task's environment hold, "" where there is none."""

    async def read() -> Mapping[str, str]:
        box = await stage.boxes.create(task.environment)
        try:
            return {path: await _text(box, path) for path in paths}
        finally:
            await box.close()

    return await stage.originals.of((task.id, *paths), read) if paths else {}


async def _text(box: Sandbox, path: str) -> str:
    try:
        return (await box.read(path)).decode("utf-8", "replace")
    except OSError:  # not there, or a folder: an agent may put a file where the base has one
        return ""


def _actor(policy: Policy, order: Order, stage: Stage) -> Actor:
    """Who acts: the policy, after the turns that the order gives, if any."""
    actor = policy.actor(order.seed)
    if not order.opening:
        return actor
    stops = stage.chat.stop_ids
    before = [
        Act(o.text, o.token_ids, o.logprobs, o.versions, o.token_ids[-1:] != () and o.token_ids[-1] in stops)
        for o in order.opening
    ]
    return Replaying(before, actor)


def _replayed(order: Order, played: Played) -> dict[str, str]:
    return {REPLAYED_TURNS: str(min(len(order.opening), len(played.turns)))} if order.opening else {}


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
        labels={**played.labels, **_replayed(order, played)},
        branches=tuple(played.branches),
    )


def _diff(path: str, before: str, after: str) -> str:
    lines = (before.splitlines(keepends=True), after.splitlines(keepends=True))
    found = difflib.unified_diff(*lines, fromfile=f"a/{path}", tofile=f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found)
