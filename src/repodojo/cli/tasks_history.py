"""`repodojo tasks make REPO --from history`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError, RepodojoError
from repodojo.tasks.history.make import Options, make, walk
from repodojo.tasks.history.message import read_issues
from repodojo.tasks.store import TaskStore

STAGES = ("commits seen", "commits kept", "built", "validated")
ONLY = {
    "bugs": ("kinds", "seed", "max_lines", "per_function"),
    "history": (
        "max_files", "max_edited", "max_patch", "min_words", "max_commits", "revision", "sure", "issues", "walk_only",
        "reverts", "dated",
    ),
}  # fmt: skip


def refuse_idle(context: typer.Context, maker: str) -> None:
    """ConfigError for an option that was given and does nothing with this maker."""
    if maker not in ONLY:
        raise ConfigError(f"there is no maker {maker!r}", way_out=f"use --from {' or --from '.join(ONLY)}")
    for other, names in ONLY.items():
        for name in names if other != maker else ():
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                raise ConfigError(
                    f"--{name.replace('_', '-')} does nothing with --from {maker}", way_out=f"it is for --from {other}"
                )


def from_history(
    sources: list[str],
    out: Path,
    options: Options,
    issues: Path | None,
    *,
    walk_only: bool,
    unisolated: bool,
    as_json: bool,
) -> None:
    """Each repository in turn; one that fails is reported and does not stop the others."""
    known, failed = read_issues(issues) if issues else {}, False
    for source in sources:
        try:
            funnel = _one(source, out, options, known, walk_only, unisolated)
        except RepodojoError as error:
            typer.secho(f"error: {source}: {error}", fg="red", err=True)
            failed = True
            continue
        _report(source, funnel, as_json)
    if failed:
        raise typer.Exit(2)


def _one(
    source: str, out: Path, options: Options, issues: dict[int, str], walk_only: bool, unisolated: bool
) -> Counter[str]:
    from repodojo.sandbox.factory import LocalFactory

    with Bars() as bars:
        tell = bars.making(source)
        if walk_only:
            return walk(source, options, tell)
        fresh = not out.exists()
        store = TaskStore(out, create=True)
        factory = LocalFactory(out, allow_unisolated=unisolated)

        async def run() -> Counter[str]:
            try:
                return await make(source, store, options, factory, issues, tell)
            finally:
                await factory.close()

        try:
            return asyncio.run(run())
        finally:
            if fresh and out.is_dir() and not any(out.iterdir()):
                out.rmdir()


def _report(source: str, funnel: Counter[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"source": source, "funnel": dict(funnel)}))
        return
    table = Table("history of", source, show_header=True)
    for name in STAGES:
        table.add_row(name, str(funnel[name]))
    for name, count in sorted(funnel.items(), key=lambda item: -item[1]):
        if name not in STAGES and count:
            table.add_row(f"  {name}", str(count))
    Console().print(table)
