"""A repository's history into a store: walked once, tried commit by commit, and taken up again where it stopped."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from repodojo import __version__
from repodojo.core.errors import OutageError, SourceError
from repodojo.core.protocols import SandboxFactory
from repodojo.core.records import Split, Task
from repodojo.tasks.history.attempt import Lost, Workshop
from repodojo.tasks.history.repository import Repository, opened
from repodojo.tasks.history.settle import SURE
from repodojo.tasks.history.walk import Commit, Filters, candidates
from repodojo.tasks.layout import canonical, layout_of
from repodojo.tasks.store import TaskStore, disk_errors

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Options:
    """What one call asks for. `limit` bounds tasks, `commits` the walk (0: no bound)."""

    split: Split = "train"
    limit: int = 0
    commits: int = 0
    revision: str = "HEAD"
    sure: int = SURE
    workers: int = 2
    filters: Filters = field(default_factory=Filters)


def walk(source: str, options: Options, tell: Tell) -> Counter[str]:
    """The walk alone, nothing built: its funnel."""
    funnel: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="repodojo-history-") as scratch:
        _walk(opened(source, Path(scratch)), options, funnel, tell)
    return funnel


def _walk(repository: Repository, options: Options, funnel: Counter[str], tell: Tell) -> list[Commit]:
    return candidates(
        repository,
        options.filters,
        funnel,
        revision=options.revision,
        limit=options.commits,
        tell=lambda seen: tell("walk", seen, 0) if seen % 50 == 0 else None,
    )


async def make(
    source: str,
    store: TaskStore,
    options: Options,
    factory: SandboxFactory,
    issues: dict[int, str],
    tell: Tell,
) -> Counter[str]:
    """Make tasks of a history; the funnel. What was decided of a commit is kept in `history/` beside the tasks, so a
    call that was stopped goes on. Raises SourceError or TaskError where the repository or the split cannot be used."""
    funnel: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="repodojo-history-") as scratch, disk_errors(store.path):
        repository = await asyncio.to_thread(opened, source, Path(scratch))
        package = await asyncio.to_thread(_package, repository, options.revision, Path(scratch) / "head")
        store.refuse_other_split(package, options.split)
        kept = await asyncio.to_thread(_walk, repository, options, funnel, tell)
        journal = Journal(store.path / "history", package, options, issues)
        shop = Workshop(
            repository,
            store.path,
            factory,
            package,
            options.split,
            options.filters,
            issues,
            options.sure,
            Path(scratch),
        )
        run = _Run(store, shop, journal, options, funnel, tell, kept)
        try:
            await run.all()
        finally:
            _sweep(store, shop.trees)
    return funnel


def _package(repository: Repository, revision: str, folder: Path) -> str:
    """The canonical name of what the repository holds."""
    repository.checkout(revision, folder)
    layout = layout_of(folder)
    return canonical(repository.name if layout.name == folder.name else layout.name)


class Journal:
    """What became of each commit, a line each: {"commit", "fate", "task", "built"}; a file for each set of settings."""

    def __init__(self, folder: Path, package: str, options: Options, issues: dict[int, str]) -> None:
        settings = {"filters": asdict(options.filters), "sure": options.sure, "issues": issues, "split": options.split}
        mark = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        self.path = folder / f"{package}-{mark}.jsonl"
        self.known: dict[str, dict[str, Any]] = {row["commit"]: row for row in self._rows()}

    def _rows(self) -> Iterator[dict[str, Any]]:
        if self.path.is_file():
            for line in self.path.read_bytes().splitlines():
                try:
                    yield json.loads(line)
                except ValueError:  # the last line, where it was cut off
                    continue

    def write(self, commit: str, fate: str, task: str, built: bool) -> None:
        """Append a line and wait for the disk."""
        self.known[commit] = {"commit": commit, "fate": fate, "task": task, "built": built}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = b"" if not self.path.is_file() or self.path.read_bytes().endswith(b"\n") else b"\n"
        with open(self.path, "ab") as stream:
            stream.write(fresh + json.dumps(self.known[commit]).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


@dataclass
class _Run:
    """Commits that wait, and workers that take them."""

    store: TaskStore
    shop: Workshop
    journal: Journal
    options: Options
    funnel: Counter[str]
    tell: Tell
    kept: list[Commit]
    tasks: int = 0

    async def all(self) -> None:
        waiting: list[Commit] = []
        for commit in self.kept:
            known = self.journal.known.get(commit.id)
            if known is None:
                waiting.append(commit)
            else:
                self._count(known["fate"], known["built"])
                self.funnel["decided before"] += 1
        queue = iter(waiting)
        self.done, self.of = 0, len(waiting)

        async def work() -> None:
            for commit in queue:
                if self.options.limit and self.tasks >= self.options.limit:
                    return
                await self._one(commit)
                self.done += 1
                self.tell("commits", self.done, self.of)

        async with asyncio.TaskGroup() as group:
            for _ in range(self.options.workers):
                group.create_task(work())

    async def _one(self, commit: Commit) -> None:
        try:
            task = await self.shop.task(commit)
        except Lost as reason:
            self._decide(commit, f"lost: {reason}", "")
            return
        except OutageError as error:  # says nothing of the commit: it is tried again next time
            self.funnel[f"outage: {type(error).__name__}"] += 1
            return
        finally:
            shutil.rmtree(self.shop.scratch / commit.id[:16], ignore_errors=True)
        self._publish(task)
        self._decide(commit, "kept", task.id)

    def _decide(self, commit: Commit, fate: str, task: str) -> None:
        built = commit.id in self.shop.built
        self.journal.write(commit.id, fate, task, built)
        self._count(fate, built)

    def _count(self, fate: str, built: bool) -> None:
        self.funnel["built"] += built
        self.tasks += fate == "kept"
        self.funnel["validated" if fate == "kept" else fate] += 1

    def _publish(self, task: Task) -> None:
        entry: dict[str, Any] = {
            "split": self.options.split,
            "source": self.shop.repository.name,
            "address": self.shop.repository.address,
            "licence": task.licence,
            "made_with": f"repodojo {__version__}",
            "history": {"filters": asdict(self.options.filters), "sure": self.options.sure},
        }
        self.store.append([task], self.shop.package, entry)
        self.shop.trees.discard(str(task.environment.recipe["tree"]))


def _sweep(store: TaskStore, trees: set[str]) -> None:
    """Trees of commits that made no task go again, unless another task has them."""
    if trees:
        used = {str(task.environment.recipe.get("tree", "")) for task in store.each()}
        for name in trees - used:
            shutil.rmtree(store.path / "trees" / name, ignore_errors=True)


__all__ = ["Options", "SourceError", "make", "walk"]
