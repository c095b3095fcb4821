"""One commit to a task: its parent's tree, its tests, runs before and after, and the check as it will be graded."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from repodojo.core.errors import GradingError, SourceError, TaskError
from repodojo.core.protocols import SandboxFactory
from repodojo.core.records import Environment, Gold, Grader, Source, Split, Task, Validation
from repodojo.rewards.graders.graded import GradedReward
from repodojo.tasks import leaks
from repodojo.tasks.gold import gold_changes
from repodojo.tasks.history.message import instruction, words
from repodojo.tasks.history.repository import Repository
from repodojo.tasks.history.settle import Settled, settle
from repodojo.tasks.history.walk import Commit, Filters
from repodojo.tasks.languages import Language
from repodojo.tasks.languages.base import About
from repodojo.tasks.runs import Report

LARGEST_TEST = 200_000
OTHERS = 200
"""Ids (or files, where only a run tells ids) of unchanged tests that must stay green, at most."""
GRADINGS = 3
SECONDS, ID_SECONDS = 300.0, 30.0
"""What a run and one id of it may take: a cold start on a busy machine is no verdict on the code."""
MORE = 4.0
"""How many times that, where the first run shows that it was not enough."""


class Lost(Exception):
    """A commit that makes no task; the text is the reason that the funnel counts, `why` what the journal keeps."""

    def __init__(self, reason: str, why: str = "") -> None:
        super().__init__(reason)
        self.why = why


class InDoubt(Exception):
    """A commit that was lost to time or memory, which a busy machine can take as well as the code; tried again."""


@dataclass(frozen=True)
class Prepared:
    """A commit taken apart: what the box gets, what the tests are, what the solution is. `chosen` is what is run."""

    about: About
    environment: Environment
    hidden: Mapping[str, str]
    chosen: tuple[str, ...]
    gold: str
    test_patch: str


@dataclass
class Patient:
    """Runs that may be tried a second time, with more time. `hangs` are ids that did not answer then either: that is
    their own doing, and they are not waited for again."""

    hangs: set[str] = field(default_factory=set)

    async def run(self, once: Callable[[float], Awaitable[Report]], mended: bool) -> Report:
        """The first run where it is whole, else the second. InDoubt where the solution's run ends twice otherwise:
        before the solution that may be the very bug."""
        found = await once(1.0)
        if not found.ended and not found.late() - self.hangs:
            return found
        found = await once(MORE)
        self.hangs |= found.late()
        if found.ended and mended:
            raise InDoubt(f"the tests do not end, {found.ended}")
        return found


@dataclass
class Workshop:
    """What attempts of one call share. `failed` keeps what could not be installed, so that it is tried once; `dated`
    asks for dependencies of the commit's day, and `days` says by tree of which day they are ("" for today)."""

    repository: Repository
    language: Language
    store: Path
    factory: SandboxFactory
    package: str
    split: Split
    filters: Filters
    issues: Mapping[int, str]
    sure: int
    scratch: Path
    dated: bool = True
    failed: dict[tuple[str, ...], SourceError] = field(default_factory=dict)
    days: dict[str, str] = field(default_factory=dict)
    trees: set[str] = field(default_factory=set)
    built: set[str] = field(default_factory=set)

    def prepare(self, commit: Commit) -> Prepared:
        """Everything that needs no box. Raises Lost."""
        parent = commit.parents[0]
        folder = self.scratch / commit.id[:16]
        self.repository.checkout(parent, folder)
        try:
            about = self.language.about(folder, self.package)
            gold_paths = self.language.solution(folder, commit.code, self.package)
            if not gold_paths:
                raise Lost("no source of the package changed")
            hidden = self._tests(commit)
            environment = self._environment(folder, commit.date[:10] if self.dated else "")
            chosen = self.language.chosen(folder, hidden, OTHERS, self.package)
        except SourceError as error:
            raise Lost("no environment", str(error)) from error
        if not chosen:
            raise Lost("no test functions in the changed tests")
        return Prepared(
            about,
            environment,
            hidden,
            tuple(chosen),
            self.repository.diff(parent, commit.id, gold_paths),
            self.repository.diff(parent, commit.id, commit.tests),
        )

    def _environment(self, folder: Path, date: str) -> Environment:
        key = (*self.language.wants(folder, self.package), date[:7])
        if key in self.failed:
            raise self.failed[key]
        fresh = {p.name for p in (self.store / "trees").glob("*")}
        try:
            built = self.language.build(folder, self.store, date, self.package)
        except SourceError as error:
            self.failed[key] = error
            raise
        tree = str(built.environment.recipe["tree"])
        if tree not in fresh:
            self.trees.add(tree)
        self.days[tree] = built.date
        return built.environment

    def _tests(self, commit: Commit) -> dict[str, str]:
        """Test files (and their data) as the commit has them; those that it deletes are left out."""
        listed = self.repository.raw("ls-tree", "-r", "-z", "--name-only", commit.id).decode(errors="replace")
        there = set(listed.split("\0"))
        found: dict[str, str] = {}
        for path in commit.tests:
            if path in there:
                data = self.repository.file(commit.id, path)
                try:
                    found[path] = data.decode()
                except UnicodeDecodeError:
                    raise Lost("tests with binary data") from None
                if len(data) > LARGEST_TEST:
                    raise Lost("tests too large")
        return found

    async def task(self, commit: Commit) -> Task:
        """The validated task of a commit. Raises Lost with the reason, InDoubt where that may be the machine's load,
        OutageError where the machine fails."""
        started = time.monotonic()
        if words(instruction(commit.message, self.issues, "", ())) < self.filters.words:
            raise Lost("the message says too little")  # test names and the leak scan can only take more away
        prepared = await asyncio.to_thread(self.prepare, commit)
        self.built.add(commit.id)
        draft = self._draft(commit, prepared)
        try:
            gold = await asyncio.to_thread(gold_changes, self.store, draft)
        except TaskError as error:
            raise Lost("the patch does not fit") from error
        failing: dict[str, str] = {}
        patient = Patient()

        async def run(mended: bool, seed: int) -> Mapping[str, str]:
            def once(more: float) -> Awaitable[Report]:
                return self._run(draft, prepared, gold if mended else {}, seed, more)

            found = await patient.run(once, mended)
            if not mended and not seed:
                failing.update(found.failures)
            return found.tests

        settled = await settle(prepared.chosen if self.language.known else (), run, sure=self.sure)
        self._judge(settled)
        seconds = (time.monotonic() - started) / (2 * settled.rounds)
        shown = self._shown(settled, failing)
        task = self._finished(commit, draft, settled, shown, seconds)
        await self._graded(task, gold)
        return task

    async def _graded(self, task: Task, gold: Mapping[str, bytes | None]) -> None:
        """Lost where the solution is not paid or nothing is; GradingError where the grader had no verdict.

        The solution has passed in several rounds, so an unpaid one is tried again: grading has tighter time limits.
        InDoubt where time or memory ended one of these runs.
        """
        doubt = ""
        for attempt in range(1, GRADINGS + 1):
            good = await GradedReward(self.factory).score(task, gold, None)
            if good.value == 1.0:
                break
            if good.value is None and attempt == GRADINGS:
                raise GradingError(f"the solution of {task.id} could not be graded: {good.error}")
            doubt = doubt or next((part for part, on in good.parts.items() if part.startswith("evidence:") and on), "")
        else:
            raise InDoubt(f"not paid as graded, {doubt}") if doubt else Lost("not paid as graded")
        idle = await GradedReward(self.factory).score(task, {}, None)
        if idle.value is None:
            raise GradingError(f"doing nothing in {task.id} could not be graded: {idle.error}")
        if idle.value:
            raise Lost("paid for nothing")

    async def _run(
        self, draft: Task, prepared: Prepared, changes: Mapping[str, bytes | None], seed: int, more: float
    ) -> Report:
        """All ids in a fresh box, in a cold interpreter with a hash seed of its own, with `more` times the time."""
        box = await self.factory.create(draft.environment)
        try:
            for path, data in changes.items():
                await box.write(path, data)
            for path, text in prepared.hidden.items():
                await box.write(path, text.encode())
            return await self.language.run(box, prepared.chosen, more * SECONDS, each=more * ID_SECONDS, seed=seed)
        finally:
            await box.close()

    @staticmethod
    def _judge(settled: Settled) -> None:
        if settled.broken:
            raise Lost("a test that passed fails afterwards")
        if not settled.red:
            passed = any(after for pairs in settled.seen.values() for _, after in pairs)
            raise Lost("no test turns green" if passed else "no test passes afterwards")

    def _shown(self, settled: Settled, failing: Mapping[str, str]) -> str:
        """What the first test that turns green said before; where it could not even be loaded, what its file said."""
        first = settled.red[0]
        file = first.partition("::")[0]
        beside = (text for name, text in failing.items() if not self.language.known and name.startswith(f"{file}::"))
        return failing.get(first) or next(beside, "")

    def _draft(self, commit: Commit, prepared: Prepared) -> Task:
        mark = hashlib.sha256(f"{self.package}\0{commit.id}".encode()).hexdigest()[:12]
        source = Source(f"{self.repository.name} (history)", commit.id, self.split)
        tests = tuple(dict.fromkeys((*self.language.protected, *prepared.hidden, *prepared.about.tests)))
        day = self.days.get(str(prepared.environment.recipe["tree"]), "")
        labels = {"kind": "history", "package": self.package, "commit": commit.id, "lines": str(commit.lines)}
        return Task(
            id=f"h-{mark}",
            source=source,
            instruction="",
            environment=prepared.environment,
            grader=Grader(),
            gold=Gold(prepared.gold),
            repo=self.repository.address,
            base_commit=commit.parents[0],
            language=self.language.label,
            licence=prepared.about.licence,
            created=commit.date,
            hidden_files=prepared.hidden,
            test_patch=prepared.test_patch,
            protected=tests,
            labels={**labels, "dependencies": day or "today"} if prepared.environment.recipe["site"] else labels,
        )

    def _finished(self, commit: Commit, draft: Task, settled: Settled, failing: str, seconds: float) -> Task:
        names = {leaks.test_name(name) for name in (*settled.red, *settled.green, *settled.flaky)}
        text = instruction(commit.message, self.issues, failing, {name for name in names if name})
        if words(text.partition("\n\nIt now fails")[0]) < self.filters.words:
            raise Lost("the message says too little")
        judge = self.language.grader((*settled.red, *settled.green))
        grader = replace(judge, fail_to_pass=settled.red, pass_to_pass=settled.green, timeout=max(30.0, 4 * seconds))
        seen = Validation(2 * settled.rounds, settled.flaky, round(seconds, 3))
        task = replace(draft, instruction=text, grader=grader, validation=seen)
        if next(leaks.in_instruction(task), ""):
            raise Lost("the instruction gives the answer away")
        return task
