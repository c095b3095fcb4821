"""`repodojo tasks make REPO --edits`, and `... SOURCE --renames`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

import typer

from repodojo.cli.progress import Bars
from repodojo.cli.tasks_funnel import report
from repodojo.core.errors import ConfigError, RepodojoError
from repodojo.tasks.edits import renames
from repodojo.tasks.edits.languages import CODE, LANGUAGES
from repodojo.tasks.edits.make import Options, Tell, make
from repodojo.tasks.store import TaskStore

RENAMES = ("functions", "tasks made", "added")
STAGES = ("commits seen", "hunks seen", "hunks kept", "tasks made", "added")


def languages_named(names: str, known: Collection[str] = LANGUAGES) -> frozenset[str]:
    """Languages from a list with commas (none: all of code that are known); ConfigError with those there are."""
    wanted = frozenset(filter(None, names.split(",")))
    if unknown := sorted(wanted - set(known)):
        raise ConfigError(f"there is no language {unknown[0]!r}", way_out=f"use some of {', '.join(sorted(known))}")
    return wanted or CODE.intersection(known)


def between(name: str, least: int, most: int) -> tuple[int, int]:
    """Two bounds; ConfigError where nothing lies between them."""
    if least > most:
        raise ConfigError(f"--min-{name} {least} is more than --max-{name} {most}", way_out="exchange them")
    return least, most


def from_edits(sources: list[str], out: Path, options: Options, as_json: bool) -> None:
    """Edits of each repository in turn; one that fails is reported and does not stop the others."""
    _each(sources, out, lambda source, store, tell: asyncio.run(make(source, store, options, tell)), STAGES, as_json)


def from_renames(sources: list[str], out: Path, options: renames.Options, as_json: bool) -> None:
    """Renames of each source in turn; one that fails is reported and does not stop the others."""

    def one(source: str, store: TaskStore, tell: Tell) -> Counter[str]:
        return asyncio.run(renames.make(source, store, options, tell))

    _each(sources, out, one, RENAMES, as_json)


def _each(
    sources: list[str],
    out: Path,
    make_of: Callable[[str, TaskStore, Tell], Counter[str]],
    stages: tuple[str, ...],
    as_json: bool,
) -> None:
    failed = False
    for source in sources:
        fresh = not out.exists()
        try:
            with Bars() as bars:
                funnel = make_of(source, TaskStore(out, create=True), bars.making(source))
        except RepodojoError as error:
            typer.secho(f"error: {source}: {error}", fg="red", err=True)
            failed = True
            continue
        finally:
            if fresh and out.is_dir() and not any(out.iterdir()):
                out.rmdir()
        report("edits of", source, stages, funnel, as_json)
    if failed:
        raise typer.Exit(2)
