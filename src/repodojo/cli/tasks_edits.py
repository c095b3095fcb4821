"""`repodojo tasks make REPO --edits`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from repodojo.cli.progress import Bars
from repodojo.cli.tasks_funnel import report
from repodojo.core.errors import ConfigError, RepodojoError
from repodojo.tasks.edits.languages import CODE, LANGUAGES
from repodojo.tasks.edits.make import Options, make
from repodojo.tasks.store import TaskStore

STAGES = ("commits seen", "hunks seen", "hunks kept", "tasks made", "added")


def languages_named(names: str) -> frozenset[str]:
    """Languages from a list with commas; ConfigError with those there are."""
    wanted = frozenset(filter(None, names.split(",")))
    if unknown := sorted(wanted - set(LANGUAGES)):
        raise ConfigError(f"there is no language {unknown[0]!r}", way_out=f"use some of {', '.join(LANGUAGES)}")
    return wanted or CODE


def between(name: str, least: int, most: int) -> tuple[int, int]:
    """Two bounds; ConfigError where nothing lies between them."""
    if least > most:
        raise ConfigError(f"--min-{name} {least} is more than --max-{name} {most}", way_out="exchange them")
    return least, most


def from_edits(sources: list[str], out: Path, options: Options, as_json: bool) -> None:
    """Each repository in turn; one that fails is reported and does not stop the others."""
    failed = False
    for source in sources:
        fresh = not out.exists()
        try:
            with Bars() as bars:
                funnel = asyncio.run(make(source, TaskStore(out, create=True), options, bars.making(source)))
        except RepodojoError as error:
            typer.secho(f"error: {source}: {error}", fg="red", err=True)
            failed = True
            continue
        finally:
            if fresh and out.is_dir() and not any(out.iterdir()):
                out.rmdir()
        report("edits of", source, STAGES, funnel, as_json)
    if failed:
        raise typer.Exit(2)
