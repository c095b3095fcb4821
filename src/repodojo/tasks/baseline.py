"""What is green in a sound package: three runs in cold interpreters with different hash seeds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from repodojo.core.errors import SourceError
from repodojo.core.protocols import Sandbox, SandboxFactory
from repodojo.core.records import Environment
from repodojo.tasks.discover import FunctionInfo, pytest_ids
from repodojo.tasks.layout import Layout, read_source
from repodojo.tasks.runs import ID_SECONDS, Report, report

RUNS = 3
CHUNK = 100
CHUNK_SECONDS = 60.0
SLOW = ID_SECONDS / 3


@dataclass(frozen=True)
class Baseline:
    """Ids that are green and quick every time, and what each calls (`path::qualname`).

    flaky: ids that differed between runs; never used, never counted
    """

    green: frozenset[str]
    flaky: tuple[str, ...]
    touched: Mapping[str, frozenset[str]]
    docstrings: Mapping[str, str]
    tests: Mapping[str, str]
    tried: int


async def measure(
    factory: SandboxFactory,
    sound: Environment,
    layout: Layout,
    found: Sequence[FunctionInfo],
    budget: float,
    workers: int = 1,
) -> Baseline:
    """Run every doctest, and the pytest files as far as `budget` seconds of a box reach, three times.

    `workers` boxes share the chunks; what they take together counts, so that more of them try no more tests. Raises
    SourceError where there are no tests, or where none is green.
    """
    docstrings = {f.doctest_id: f.docstring for f in found if f.doctest_id}
    sources = {path: read_source(layout.root / path) for path in layout.tests}
    by_file = {path: pytest_ids(path, text) for path, text in sources.items()}
    chunks = list(_chunks(list(docstrings), by_file))
    seen: dict[int, list[Report]] = {}
    waiting, spent = iter(enumerate(chunks)), 0.0

    async def work() -> None:
        nonlocal spent
        box = await factory.create(sound)
        try:
            for path in layout.tests:
                await box.write(path, sources[path].encode())
            for number, ids in waiting:
                if ids[0].startswith("pytest:") and spent > budget:
                    return
                started = time.monotonic()
                seen[number] = await _thrice(box, ids, docstrings)
                spent += time.monotonic() - started
        finally:
            await box.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(workers, len(chunks))):
            group.create_task(work())
    runs = [(chunks[number], seen[number]) for number in sorted(seen)]
    tried = sum(len(ids) for ids, _ in runs)
    touched = {name: frozenset(names) for _, reports in runs for name, names in reports[0].touched.items()}
    if not tried:
        raise SourceError(
            f"{layout.name} has no tests: neither examples in docstrings nor pytest files",
            way_out="name a package whose source ships its tests",
        )
    green, flaky = _verdict(runs)
    if not green:
        raise SourceError(
            f"none of the {tried} tests of {layout.name} passes before any change{_reason(runs)}",
            way_out="the package may not fit this Python, or need what its metadata does not name",
        )
    return Baseline(frozenset(green), tuple(flaky), touched, docstrings, sources, tried)


async def _thrice(box: Sandbox, ids: Sequence[str], docstrings: Mapping[str, str]) -> list[Report]:
    """Three runs of a chunk under three hash seeds, each of what was green before; the first of pytest's is traced."""
    seen: list[Report] = []
    for seed in range(RUNS):
        if wanted := [i for i in ids if all(_worth(r, i) for r in seen)]:
            trace = seed == 0 and ids[0].startswith("pytest:")
            seen.append(await report(box, wanted, docstrings, seed=seed, trace=trace, seconds=CHUNK_SECONDS))
    return seen


def _worth(report: Report, name: str) -> bool:
    """Whether an id passed, and fast enough (tracing slows it down) to be run again."""
    return report.tests.get(name) == "passed" and report.seconds.get(name, 0.0) <= ID_SECONDS


def _chunks(doctests: list[str], by_file: Mapping[str, list[str]]) -> Iterator[list[str]]:
    for start in range(0, len(doctests), CHUNK):
        yield doctests[start : start + CHUNK]
    group: list[str] = []
    for ids in by_file.values():
        if group and len(group) + len(ids) > CHUNK:
            yield group
            group = []
        group += ids
    if group:
        yield group


def _verdict(runs: Sequence[tuple[list[str], list[Report]]]) -> tuple[list[str], list[str]]:
    green: list[str] = []
    flaky: list[str] = []
    for ids, seen in runs:
        for name in ids:
            if not _worth(seen[0], name):
                continue
            if len(seen) == RUNS and all(r.tests.get(name) == "passed" for r in seen):
                if max(r.seconds.get(name, 0.0) for r in seen[1:]) <= SLOW:
                    green.append(name)
            else:
                flaky.append(name)
    return green, flaky


def _reason(runs: Sequence[tuple[list[str], list[Report]]]) -> str:
    """The commonest first failure, for the message."""
    texts = [text for _, seen in runs for text in seen[0].failures.values()] if runs else []
    return f" (e.g. {' '.join(texts[0].split())[:160]})" if texts else ""
