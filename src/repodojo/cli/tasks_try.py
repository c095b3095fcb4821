"""`repodojo tasks try`: whether a repository can be built here, and which of its tests pass."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from repodojo.cli.progress import Bars
from repodojo.cli.tasks_words import AsJson
from repodojo.core.errors import SourceError
from repodojo.core.records import Environment
from repodojo.tasks.languages import Language, language_of
from repodojo.tasks.runs import Report
from repodojo.tasks.sources import fetch

SHOWN = 10


def try_source(
    source: Annotated[str, typer.Argument(help="a folder, an index package, an archive or a Git URL")],
    language: Annotated[str, typer.Option(help="python or node; recognised where it is not given")] = "",
    date: Annotated[str, typer.Option(help="dependencies as of this day, e.g. 2019-06-30 (default: today)")] = "",
    seconds: Annotated[float, typer.Option(min=1, help="what a run may take; Node: of one file")] = 300.0,
    unisolated: Annotated[bool, typer.Option(help="where the machine offers no isolation, run without")] = False,
    as_json: AsJson = False,
) -> None:
    """Build a repository's environment and run its tests once in a box. Exit code 1 where none passes.

    Example: repodojo tasks try ./my-repository --date 2019-06-30
    """
    with tempfile.TemporaryDirectory(prefix="repodojo-try-") as scratch, Bars() as bars:
        bars.phase(f"fetch {source}", 0)
        root = fetch(source, Path(scratch)).root
        chosen, store = language_of(root, language), Path(scratch) / "store"
        bars.phase(f"build as {chosen.name}", 0)
        environment, tests = chosen.build(root, store, date).environment, chosen.tests(root)
        if not tests:
            raise SourceError(f"{source} has no tests", way_out="name a source that ships them")
        bars.phase("run the tests", 0)
        found = asyncio.run(_run(chosen, store, environment, tests, seconds, unisolated))
        layer = (store / "sites" / f"{environment.recipe['site']}.txt") if environment.recipe["site"] else None
        pins = layer.read_text().splitlines()[1:] if layer and layer.is_file() else []
    counts = Counter(found.tests.values())
    if as_json:
        row = {"source": source, "language": chosen.name, "dependencies": pins, "tests": dict(found.tests)}
        print(json.dumps({**row, "failures": dict(found.failures), "ended": found.ended}))
    else:
        print(f"{chosen.name}; dependencies: {', '.join(pins) or 'none listed'}")
        print(", ".join(f"{count} {status}" for status, count in counts.most_common()) or f"no report: {found.ended}")
        for name, text in list(found.failures.items())[:SHOWN]:
            print(f"  {name}: {text.splitlines()[0] if text else ''}")
    if not counts["passed"]:
        raise typer.Exit(1)


async def _run(
    language: Language, store: Path, environment: Environment, tests: list[str], seconds: float, unisolated: bool
) -> Report:
    from repodojo.sandbox.factory import LocalFactory

    factory = LocalFactory(store, allow_unisolated=unisolated)
    try:
        box = await factory.create(environment)
        try:
            return await language.run(box, tests, seconds)
        finally:
            await box.close()
    finally:
        await factory.close()
