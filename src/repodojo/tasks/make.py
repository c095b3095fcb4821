"""One source to tasks: fetch, look, run, break, run again, keep what the tests caught."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repodojo.core.errors import SandboxError, SourceError
from repodojo.core.protocols import Sandbox, SandboxFactory
from repodojo.core.records import Environment, Source, Split, Task
from repodojo.tasks import environment as env
from repodojo.tasks.assemble import Origin, fate, task
from repodojo.tasks.baseline import Baseline, measure
from repodojo.tasks.combine import Within, combinations, merged
from repodojo.tasks.discover import FunctionInfo, classes, functions
from repodojo.tasks.features import KINDS as FEATURES
from repodojo.tasks.features import Call, asked, callers, calls, removal
from repodojo.tasks.layout import Layout, read_source
from repodojo.tasks.mutate import KINDS, OF_CLASSES
from repodojo.tasks.payable import Payable
from repodojo.tasks.plan import Plan, by_function, plan
from repodojo.tasks.runs import Job, Outcome, batch, edit_record
from repodojo.tasks.select import Candidate, Propose, Selector
from repodojo.tasks.sources import Fetched
from repodojo.tasks.written import WRITTEN, Writer, rewrites

BATCH = 24
BATCH_SECONDS = 120.0


@dataclass(frozen=True)
class Options:
    """What one call of `tasks make` asks for."""

    split: Split = "train"
    limit: int = 0
    seed: int = 0
    max_lines: int = 30
    kinds: tuple[str, ...] = KINDS
    per_function: int = 6
    test_budget: float = 10.0
    workers: int = 2
    features: bool = False
    combine: int = 1
    combine_in: Within = "file"
    writer: Writer | None = None


@dataclass
class Made:
    """What became of one source: its tasks, and how many fell by the way (`funnel`)."""

    tasks: list[Task] = field(default_factory=list)
    funnel: Counter[str] = field(default_factory=Counter)
    run_seconds: float = 0.0


Tell = Callable[[str, int, int], None]
"""Called with the stage, how much is done and how much there is (0: unknown)."""


@dataclass
class Maker:
    """Makes tasks of one source in boxes of `factory`. `seen` holds digests of functions that may not be used;
    `accept` refuses tasks that are sound and not wanted."""

    layout: Layout
    fetched: Fetched
    store: Path
    factory: SandboxFactory
    options: Options
    tell: Tell
    seen: set[str]
    accept: Callable[[Task], bool] = lambda task: True
    made: Made = field(default_factory=Made)
    kept: list[Candidate] = field(default_factory=list)
    calls: Mapping[str, Sequence[Call]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.payable = Payable(self.factory, self.store)

    async def run(self) -> Made:
        """All stages. A cancellation leaves in `self.made` the tasks that were whole by then."""
        self.tell("environment", 0, 0)
        tree = await asyncio.to_thread(env.put_tree, self.layout, self.store)
        site = await asyncio.to_thread(env.put_site, self.layout, self.store)
        sound = env.environment(self.layout, tree, site)
        found = self._functions()
        self.tell("sound tests, three times", 0, 0)
        budget, workers = self.options.test_budget, self.options.workers
        base = await measure(self.factory, sound, self.layout, found, budget, workers)
        plans = await self._plans(sound, found, base)
        self.tell("mutants", 0, 0)
        await asyncio.sleep(0)
        options = self.options
        kinds, propose = await self._proposals(plans)
        selector = Selector(plans, kinds, options.seed, options.limit, options.per_function, propose)
        self.made.funnel["mutants made"] = selector.made
        source = Source(self.fetched.label, self.fetched.revision or f"tree:{tree}", options.split)
        commit = self.fetched.revision if self.fetched.repo else ""
        origin = Origin(self.layout, source, sound, self.fetched.repo, commit)
        async with asyncio.TaskGroup() as group:
            for _ in range(options.workers):
                group.create_task(self._work(origin, selector, base))
        if options.combine > 1:
            await self._combine(origin, base)
        if not self.made.tasks:
            raise self._nothing()
        return self.made

    def _nothing(self) -> SourceError:
        """Why there is no task at all."""
        if self.options.writer is not None and not self.made.funnel["mutants made"]:
            cause, way_out = (
                "the model wrote no other body of any function",
                "raise --per-function, or name a model that writes code",
            )
        else:
            cause = "its tests catch none of the bugs tried"
            way_out = "raise --max-lines or --limit, or name a package with more doctests or tests"
        return SourceError(f"no task could be made of {self.layout.name}: {cause}", way_out=way_out)

    def _functions(self) -> list[FunctionInfo]:
        sources = {path: read_source(self.layout.root / path) for path in self.layout.modules()}
        found = [f for path, source in sources.items() for f in functions(path, source)]
        self.made.funnel["functions"] = len(found)
        if self.options.features or set(self.options.kinds) & set(OF_CLASSES):
            found += [c for path, source in sources.items() for c in classes(path, source)]
            self.made.funnel["classes"] = len(found) - self.made.funnel["functions"]
        return found

    async def _proposals(self, plans: Sequence[Plan]) -> tuple[Sequence[str], Propose | None]:
        """What is tried: kinds, and where they come from (None: injected bugs)."""
        if self.options.features:
            self.calls = await asyncio.to_thread(calls, self.layout)
            return FEATURES, lambda plan, rng: list(filter(None, [removal(plan.function)]))
        if (writer := self.options.writer) is not None:
            told = [plan.function for plan in plans]
            tries = self.options.per_function
            found = await rewrites(told, writer, tries, lambda done, of: self.tell("rewrites", done, of))
            return (WRITTEN,), lambda plan, rng: found[plan.function.focus]
        return self.options.kinds, None

    async def _plans(self, sound: Environment, found: Sequence[FunctionInfo], base: Baseline) -> list[Plan]:
        """Functions of the wanted size that green tests reach, each checked once more with the ids of its task."""
        funnel, reached = self.made.funnel, by_function(base, found)
        funnel["flaky ids"] = len(base.flaky)
        plans: dict[str, Plan] = {}
        for function in found:
            if not function.body or function.lines > self.options.max_lines:
                funnel["functions too long"] += 1
            elif function.digest in self.seen:
                funnel["functions in another split"] += 1
            elif (ready := plan(function, base, reached, self.options.seed)) is None:
                funnel["functions without a green test"] += 1
            else:
                plans[function.focus] = ready
        jobs = [ready.job(focus, gate=False) for focus, ready in plans.items()]
        outcomes: dict[str, Outcome] = {}
        chunks = [jobs[i : i + 2 * BATCH] for i in range(0, len(jobs), 2 * BATCH)]

        async def check(mine: Sequence[int]) -> None:
            async with _Boxes(self.factory, sound) as boxes:
                for number in mine:
                    got = await boxes.batch(chunks[number], base)
                    outcomes.update({outcome.key: outcome for outcome in got})
                    self.tell("sound tests, as graded", len(outcomes), len(jobs))

        async with asyncio.TaskGroup() as group:
            for worker in range(self.options.workers):
                group.create_task(check(range(worker, len(chunks), self.options.workers)))
        checked: list[Plan] = []
        for focus, ready in plans.items():
            tests = outcomes[focus].tests if focus in outcomes else {}
            ids = (*ready.visible, *ready.hidden, *ready.others)
            left = ready.without(frozenset(i for i in ids if tests.get(i) != "passed"))
            if left is None:
                funnel["functions not green as graded"] += 1
            else:
                checked.append(left)
        funnel["functions used"] = len(checked)
        return checked

    async def _work(self, origin: Origin, selector: Selector, base: Baseline) -> None:
        """One worker: a box that tries batches until the selector has no more."""
        async with _Boxes(self.factory, origin.environment) as boxes:
            while candidates := selector.take(BATCH):
                jobs = [c.plan.job(c.key, [edit_record(c.plan.function.path, c.mutant.edit)]) for c in candidates]
                outcomes = {o.key: o for o in await boxes.batch(jobs, base)}
                for candidate in candidates:
                    await self._settle(origin, selector, candidate, outcomes.get(candidate.key))
                goal = self.options.limit or selector.made
                done = len(self.made.tasks) if self.options.limit else self.made.funnel["mutants run"]
                self.tell("mutants", min(done, goal), goal)

    async def _settle(self, origin: Origin, selector: Selector, candidate: Candidate, outcome: Outcome | None) -> None:
        funnel = self.made.funnel
        funnel["mutants run"] += 1
        what = fate(candidate.plan, outcome) if outcome else "lost"
        funnel[f"mutants {what}"] += 1
        if outcome:
            self.made.run_seconds += outcome.seconds
        made = self._task(origin, candidate, outcome) if outcome and what == "killed" else None
        if made and not self.accept(made):
            funnel["tasks not wanted"] += 1
            selector.settle(candidate, False)
        elif made and not await self.payable(made, [(candidate.plan.function, candidate.mutant)]):
            funnel["mutants whose mending is not paid"] += 1
            selector.settle(candidate, False)
        elif selector.settle(candidate, made is not None) and made:
            self.made.tasks.append(made)
            self.kept.append(candidate)
            funnel["tasks kept"] += 1
        elif what == "killed":
            funnel["mutants beyond the limits"] += 1

    def _task(self, origin: Origin, candidate: Candidate, outcome: Outcome) -> Task:
        function = candidate.plan.function
        made = task(origin, candidate.plan, [(function, candidate.mutant)], outcome)
        return asked(made, function, callers(function, self.calls)) if self.options.features else made

    async def _combine(self, origin: Origin, base: Baseline) -> None:
        """Bugs that were caught alone, several at a time; a group in which one hides another is dropped."""
        options = self.options
        groups = combinations(self.kept, options.combine, options.combine_in, options.seed)
        groups = groups[: options.limit or None]
        plans = [merged([candidate.plan for candidate in group], base) for group in groups]
        jobs = [
            plan.job(str(number), [edit_record(c.plan.function.path, c.mutant.edit) for c in group])
            for number, (plan, group) in enumerate(zip(plans, groups, strict=True))
        ]
        self.made.funnel["combinations tried"] = len(groups)
        async with _Boxes(self.factory, origin.environment) as boxes:
            for start in range(0, len(jobs), BATCH):
                for outcome in await boxes.batch(jobs[start : start + BATCH], base):
                    plan, group = plans[int(outcome.key)], groups[int(outcome.key)]
                    red = {name for name, status in outcome.tests.items() if status != "passed"}
                    if fate(plan, outcome) == "killed" and all(red & set(c.plan.visible) for c in group):
                        broken = [(c.plan.function, c.mutant) for c in group]
                        made = task(origin, plan, broken, outcome)
                        if await self.payable(made, broken):
                            self.made.tasks.append(made)
                            self.made.funnel["combinations kept"] += 1
                self.tell("combinations", min(start + BATCH, len(jobs)), len(jobs))


class _Boxes:
    """A box that is replaced once where it fails for a reason that is not the code inside it."""

    def __init__(self, factory: SandboxFactory, sound: Environment) -> None:
        self.factory, self.sound = factory, sound
        self.box: Sandbox | None = None

    async def __aenter__(self) -> _Boxes:
        self.box = await self.factory.create(self.sound)
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.box:
            await self.box.close()

    async def batch(self, jobs: Sequence[Job], base: Baseline) -> list[Outcome]:
        """Try jobs; where the box gave out half-way, what is left is tried once in a new one."""
        modules = list(dict.fromkeys(job.path for job in jobs))
        found: list[Outcome] = []
        for attempt in range(2):
            assert self.box is not None
            left = [job for job in jobs if job.key not in {outcome.key for outcome in found}]
            if not left:
                break
            try:
                found += await batch(self.box, left, base.docstrings, modules, BATCH_SECONDS)
            except SandboxError:
                if attempt:
                    raise
            if len(found) < len(jobs) and not attempt:
                await self.box.close()
                self.box = await self.factory.create(self.sound)
        return found
