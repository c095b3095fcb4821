"""A warm run of tests gives the verdict of a cold one on every task of the quickstart.

`test_rewards_outage` holds the same for tasks of a small package, with every suite.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from tiny_package import boxes

from repodojo.core.protocols import SandboxFactory
from repodojo.core.records import Score, Task
from repodojo.rewards.cache import VerdictCache
from repodojo.rewards.grade import TestReward
from repodojo.tasks.store import TaskStore

Changes = Mapping[str, bytes | None]


def said(score: Score) -> tuple[object, ...]:
    """All of a verdict but the time it took."""
    return score.value, score.error, dict(score.parts), score.passed, score.failed


async def differences(store: TaskStore, tasks: list[Task], factory: SandboxFactory) -> list[str]:
    """Ids of tasks whose gold, or no change, or broken file is judged otherwise by a warm run; two tasks at a time."""
    warm, cold = (TestReward(factory, cache=VerdictCache(0), warm=warm) for warm in (True, False))
    free = asyncio.Semaphore(2)

    async def of(task: Task) -> list[str]:
        gold, found = store.gold_changes(task), []
        endings: dict[str, bytes | None] = {path: data + b"\nraise SystemExit(0)\n" for path, data in gold.items()}
        async with free:
            for changes in (gold, {}, endings):
                first, second = await warm.score(task, changes, None), await cold.score(task, changes, None)
                if said(first) != said(second) or first.value is None:
                    found.append(f"{task.id}: {said(first)} {said(second)}")
            print(task.id, len(found), flush=True)
        return found

    return [line for found in await asyncio.gather(*map(of, tasks)) for line in found]


@pytest.mark.slow
async def test_on_every_task_of_the_quickstart(tmp_path: Path) -> None:
    """REPODOJO_TASKS names the quickstart's task set (runs/tasks); without it the set is made first, in minutes.

    REPODOJO_PART=3/20 takes every 20th task by id from the fourth on: the whole takes about an hour of one core.
    """
    from repodojo.train.quickstart import make_tasks

    folder = os.environ.get("REPODOJO_TASKS")
    if folder:
        store = TaskStore(Path(folder))
    else:  # in a thread: it has a loop of its own
        store = await asyncio.to_thread(make_tasks, tmp_path / "tasks", lambda source: lambda *_: None)
    factory = boxes(store.path)
    try:
        first, _, parts = os.environ.get("REPODOJO_PART", "0/1").partition("/")
        tasks = sorted(store.tasks(), key=lambda task: task.id)[int(first) :: int(parts)]
        assert await differences(store, tasks, factory) == []
    finally:
        await factory.close()
