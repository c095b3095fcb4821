"""What grading costs: warm runs of test ids against cold ones, and each part of a reward per episode.

On the gold patches of tasks made from a small package, one after the other, verdicts not remembered. `ratio` is one run
of a task's tests by a cold interpreter over one by a fork of a warm one, in a box that is there already (the goal is
2). The parts in milliseconds an episode: box (made and given back), tests_warm and tests_cold (a whole grading: boxes,
both runs, calls from outside; tests_warm_python_init where boxes have the C init otherwise), witness (calls from
outside alone, cases known) and witness_first (with the cases worked out, once a task), a check that runs `true`, and
the process scores. Wall-clock: grading is mostly waiting for boxes, so a busy machine stretches it; both sides of the
ratio run in turns.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any

from repodojo.cli.benches._school import make_store
from repodojo.core.protocols import SandboxFactory
from repodojo.core.records import Task
from repodojo.rewards import checks, intermediate
from repodojo.rewards.cache import VerdictCache
from repodojo.rewards.docstrings import Docstrings
from repodojo.rewards.grade import TestReward
from repodojo.rewards.process import SCORES
from repodojo.rewards.process.gather import repository, work
from repodojo.rewards.runner import run_ids
from repodojo.rewards.witness import Witness
from repodojo.sandbox.factory import LocalFactory
from repodojo.tasks.store import TaskStore

Changes = Mapping[str, bytes | None]


def run(quick: bool) -> dict[str, Any]:
    """See the module; `quick` is one task and one round."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder))
        tasks = store.tasks()[: 1 if quick else 4]
        return asyncio.run(_measure(store, tasks, 1 if quick else 5))


async def _measure(store: TaskStore, tasks: Sequence[Task], rounds: int) -> dict[str, Any]:
    boxes = LocalFactory(store.path, allow_unisolated=True)
    others = LocalFactory(store.path, allow_unisolated=True, init="python")
    took: dict[str, list[float]] = {}
    try:
        await _one(boxes, tasks[0], store.gold_changes(tasks[0]), {})  # starts the server
        for task in tasks:
            for _ in range(rounds):
                await _one(boxes, task, store.gold_changes(task), took)
                if boxes.level.init is not None:
                    await _graded(others, task, store.gold_changes(task), True, "tests_warm_python_init", took)
    finally:
        await boxes.close()
        await others.close()
    pairs = list(zip(took["run_cold"], took["run_warm"], strict=True))
    ratios = [cold / warm for cold, warm in pairs]
    parts = {f"{name}_ms": statistics.median(values) for name, values in took.items()}
    ratio = {"ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}
    return {**ratio, **parts, "tasks": len(tasks), "rounds": rounds}


async def _one(boxes: SandboxFactory, task: Task, gold: Changes, took: dict[str, list[float]]) -> None:
    """One round of every part."""

    async def timed(name: str, work: Awaitable[Any]) -> Any:
        began = time.perf_counter()
        found = await work
        took.setdefault(name, []).append(1000 * (time.perf_counter() - began))
        return found

    await timed("box", _box(boxes, task))
    await _runs(boxes, task, gold, timed)
    for name, warm in (("tests_warm", True), ("tests_cold", False)):
        await _graded(boxes, task, gold, warm, name, took)
    witness, texts = Witness(boxes), await _texts(boxes, task)
    cases = await timed("witness_first", witness.cases(task, texts))
    await timed("witness", witness.ask(task, gold, cases))
    await timed("check", _check(boxes, task, gold))
    box = await boxes.create(task.environment)
    seen = await timed("gather", _work(box, task, gold))
    await box.close()
    for name in ("style", "reuse", "coupling", "size", "parallelism"):
        await timed(name, SCORES[name](seen))
    await timed("compile_and_lint", intermediate.reductions(seen))


async def _graded(
    boxes: SandboxFactory, task: Task, gold: Changes, warm: bool, name: str, took: dict[str, list[float]]
) -> None:
    reward = TestReward(boxes, cache=VerdictCache(0), warm=warm)
    await reward.score(task, gold, None)  # cases are worked out once a task, and counted elsewhere
    began = time.perf_counter()
    score = await reward.score(task, gold, None)
    took.setdefault(name, []).append(1000 * (time.perf_counter() - began))
    assert score.solved, score


async def _runs(boxes: SandboxFactory, task: Task, gold: Changes, timed: Any) -> None:
    """The same ids in the same box, cold and warm in turn."""
    texts = await _texts(boxes, task)
    box = await boxes.create(task.environment)
    try:
        for path, data in {**gold, **{p: t.encode() for p, t in task.hidden_files.items()}}.items():
            await box.write(path, data)
        await box.exec(("true",))
        for name, warm in (("run_cold", False), ("run_warm", True)):
            verdicts = await timed(name, run_ids(box, task.grader.fail_to_pass, texts, 60.0, warm=warm))
            assert not verdicts.ended, verdicts
    finally:
        await box.close()


async def _texts(boxes: SandboxFactory, task: Task) -> dict[str, str]:
    box = await boxes.create(task.environment)
    try:
        return await Docstrings(boxes).of(task, (*task.grader.fail_to_pass, *task.grader.pass_to_pass), box)
    finally:
        await box.close()


async def _box(boxes: SandboxFactory, task: Task) -> None:
    box = await boxes.create(task.environment)
    await box.exec(("true",))
    await box.close()


async def _check(boxes: SandboxFactory, task: Task, gold: Changes) -> None:
    box = await boxes.create(task.environment)
    held = await checks.share([checks.Check(command="true", seconds=60.0)], box, gold)
    await box.close()
    assert held == 1.0


async def _work(box: Any, task: Task, gold: Changes) -> Any:
    return await work(task, gold, await repository(box), box, None)
