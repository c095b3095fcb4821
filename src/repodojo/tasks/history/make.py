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
from repodojo.tasks.history.attempt import InDoubt, Lost, Workshop
from repodojo.tasks.history.repository import Repository, opened
from repodojo.tasks.history.settle import SURE
from repodojo.tasks.history.walk import Commit, Filters, candidates
from repodojo.tasks.languages import Language, language_of
from repodojo.tasks.layout import canonical
from repodojo.tasks.store import TaskStore, disk_errors

Tell = Callable[[str, int, int], None]
DOUBTS = 3
"""Calls in which a commit may be lost to time or memory before that is taken for its own fault."""
WHY = 200
"""Characters of a reason that the funnel shows; the journal has all of it."""


@dataclass(frozen=True)
class Options:
    """What one call asks for. `limit` bounds tasks, `commits` the walk (0: no bound); `dated` asks for dependencies of
    each commit's day; `language` is recognised where it is ""."""

    split: Split = "train"
    limit: int = 0
    commits: int = 0
    revision: str = "HEAD"
    sure: int = SURE
    workers: int = 2
    filters: Filters = field(default_factory=Filters)
    dated: bool = True
    language: str = ""


def walk(source: str, options: Options, tell: Tell) -> Counter[str]:
    """The walk alone, nothing built: its funnel."""
    funnel: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="repodojo-history-") as scratch:
        repository = opened(source, Path(scratch))
        language, _ = _package(repository, options, Path(scratch) / "head")
        _walk(repository, language, options, funnel, tell)
    return funnel


def _walk(
    repository: Repository, language: Language, options: Options, funnel: Counter[str], tell: Tell
) -> list[Commit]:
    there = repository.count(options.revision, options.commits)
    return candidates(
        repository,
        language,
        options.filters,
        funnel,
        revision=options.revision,
        limit=options.commits,
        tell=lambda seen: tell("walk", seen, there) if seen % 50 == 0 else None,
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
        language, package = await asyncio.to_thread(_package, repository, options, Path(scratch) / "head")
        store.refuse_other_split(package, options.split)
        kept = await asyncio.to_thread(_walk, repository, language, options, funnel, tell)
        journal = Journal(store.path / "history", package, options, issues)
        shop = Workshop(
            repository,
            language,
            store.path,
            factory,
            package,
            options.split,
            options.filters,
            issues,
            options.sure,
            Path(scratch),
            options.dated,
        )
        run = _Run(store, shop, journal, options, funnel, tell, kept)
        try:
            await run.all()
        finally:
            _sweep(store, shop.trees)
    return funnel


def _package(repository: Repository, options: Options, folder: Path) -> tuple[Language, str]:
    """The language, and the canonical name of what the repository holds."""
    repository.checkout(options.revision, folder)
    language = language_of(folder, options.language)
    name = language.about(folder).name
    name = canonical(repository.name if name == folder.name else name)
    return language, name.removeprefix("@").replace("/", "-")  # npm's names may have a scope


class Journal:
    """What became of each commit, a line each: {"commit", "fate", "why", "task", "built", "doubts"}; a file for each
    set of settings. `doubts` says in how many calls time or memory cost the commit; below DOUBTS it is tried again."""

    def __init__(self, folder: Path, package: str, options: Options, issues: dict[int, str]) -> None:
        settings = {"filters": asdict(options.filters), "sure": options.sure, "issues": issues, "split": options.split}
        settings |= {} if options.dated else {"dated": False}
        settings |= {"language": options.language} if options.language else {}
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

    def decided(self, commit: str) -> dict[str, Any] | None:
        """The line of a commit that is not to be tried again."""
        row = self.known.get(commit)
        return None if row and 0 < row.get("doubts", 0) < DOUBTS else row

    def write(self, commit: str, fate: str, task: str, built: bool, doubt: bool = False, why: str = "") -> None:
        """Append a line and wait for the disk."""
        doubts = self.known.get(commit, {}).get("doubts", 0) + 1 if doubt else 0
        row = {"commit": commit, "fate": fate, "why": why, "task": task, "built": built, "doubts": doubts}
        self.known[commit] = row
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
            known = self.journal.decided(commit.id)
            if known is None:
                waiting.append(commit)
            else:
                self._count(known["fate"], known["built"], known.get("why", ""))
                self.funnel["decided before"] += 1
        self.again: list[Commit] = []
        await self._each("commits", waiting, self.options.workers, last=False)
        await self._each("commits in doubt", list(self.again), 1, last=True)

    async def _each(self, stage: str, commits: list[Commit], workers: int, *, last: bool) -> None:
        """Try commits. What time, memory or an outage cost is put off; `last` decides it, when nothing else runs."""
        queue, done = iter(commits), Counter[str]()

        async def work() -> None:
            for commit in queue:
                if self.options.limit and self.tasks >= self.options.limit:
                    return
                await self._one(commit, last)
                done[stage] += 1
                self.tell(stage, done[stage], len(commits))

        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())

    async def _one(self, commit: Commit, last: bool) -> None:
        try:
            task = await self.shop.task(commit)
        except Lost as reason:
            self._decide(commit, f"lost: {reason}", "", why=reason.why)
            return
        except (InDoubt, OutageError) as error:
            if not last:
                self.again.append(commit)
            elif isinstance(error, InDoubt):
                self._decide(commit, f"lost: {error}", "", doubt=True)
            else:  # says nothing of the commit: it is tried again next time
                self.funnel[f"outage: {type(error).__name__}"] += 1
            return
        finally:
            shutil.rmtree(self.shop.scratch / commit.id[:16], ignore_errors=True)
        self._publish(task)
        self._decide(commit, "kept", task.id)

    def _decide(self, commit: Commit, fate: str, task: str, *, doubt: bool = False, why: str = "") -> None:
        built = commit.id in self.shop.built
        self.journal.write(commit.id, fate, task, built, doubt, why)
        self._count(fate, built, why)

    def _count(self, fate: str, built: bool, why: str) -> None:
        self.funnel["built"] += built
        self.tasks += fate == "kept"
        self.funnel["validated" if fate == "kept" else fate] += 1
        if why:
            self.funnel[f"because {' '.join(why.split())[:WHY]}"] += 1

    def _publish(self, task: Task) -> None:
        entry: dict[str, Any] = {
            "split": self.options.split,
            "source": self.shop.repository.name,
            "address": self.shop.repository.address,
            "licence": task.licence,
            "made_with": f"repodojo {__version__}",
            "history": {
                "filters": asdict(self.options.filters),
                "sure": self.options.sure,
                "language": self.options.language,
            },
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
