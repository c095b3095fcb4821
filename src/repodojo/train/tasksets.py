"""The tasks of a run and of each of its stages, and the place among them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from repodojo.core.records import Task
from repodojo.rollout.orders import seed_of
from repodojo.train import setup
from repodojo.train.config import Config
from repodojo.train.cursor import TaskCursor
from repodojo.train.difficulty import Ledger, WeightedCursor
from repodojo.train.rundir import RunDir
from repodojo.train.stages import Span

Cursor = TaskCursor | WeightedCursor


Find = Callable[[Config], list[Task]]


def _on_disk(config: Config) -> list[Task]:
    return asyncio.run(setup.fitting(config, config.tasks.split, config.tasks.limit, writes=True))


class TaskSets:
    """Task sets by what selects them; each is looked for once."""

    def __init__(self, config: Config, find: Find | None = None) -> None:
        """`find`: what looks for the tasks that a configuration selects; None for the task set on disk."""
        self._seed, self._find = config.run.seed, find or _on_disk
        self._known: dict[tuple[Any, ...], list[Task]] = {}

    def of(self, config: Config) -> list[Task]:
        """The tasks that [tasks] selects."""
        chosen = config.tasks
        key = (chosen.split, chosen.limit, chosen.max_prompt_tokens)
        if key not in self._known:
            self._known[key] = self._find(config)
        return self._known[key]

    def all(self, spans: Sequence[Span]) -> list[Task]:
        """Every task that some stage, or the run itself, may draw."""
        for span in spans:
            self.of(span.config)
        return list({task.id: task for tasks in self._known.values() for task in tasks}.values())

    def cursor(self, run: RunDir, span: Span, state: Mapping[str, Any] | None) -> Cursor:
        """Over a stage's tasks: at the start, or (with the state of a commit) where it was.

        A refresh looks at the episodes before the stage's first step, so a resumed run finds the same tasks.
        """
        ids = [task.id for task in self.of(span.config)]
        if span.refresh:
            ids = Ledger(run, before=span.first).kept(ids)
        seed = seed_of(self._seed, "stage", span.name) % 2**31 if span.name else self._seed
        if span.config.tasks.sampling == "difficulty":
            return WeightedCursor.restore(ids, state) if state else WeightedCursor.over(ids, seed)
        return TaskCursor.restore(ids, state) if state else TaskCursor.over(ids, seed)
