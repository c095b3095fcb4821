"""What tests of the makers do in boxes: make tasks of a history, validate a set, grade a change."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from tiny_package import boxes, quiet

from repodojo.core.protocols import SandboxFactory
from repodojo.core.records import Score, Task
from repodojo.rewards.graders.graded import GradedReward
from repodojo.tasks.history.make import Options, make
from repodojo.tasks.store import TaskStore
from repodojo.tasks.validate import Verdict, validate

T = TypeVar("T")


def in_boxes(store: Path, work: Callable[[SandboxFactory], Awaitable[T]]) -> T:
    async def done() -> T:
        factory = boxes(store)
        try:
            return await work(factory)
        finally:
            await factory.close()

    return asyncio.run(done())


def of_history(source: Path, store: Path, options: Options, issues: dict[int, str] | None = None) -> Counter[str]:
    kept = TaskStore(store, create=True)
    return in_boxes(store, lambda factory: make(str(source), kept, options, factory, issues or {}, quiet))


def verdicts(store: Path) -> list[Verdict]:
    return list(in_boxes(store, lambda factory: validate(TaskStore(store), factory)))


def graded(store: Path, task: Task, changes: Mapping[str, bytes | None]) -> Score:
    return in_boxes(store, lambda factory: GradedReward(factory).score(task, changes, None))
