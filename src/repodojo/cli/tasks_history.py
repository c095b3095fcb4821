"""`repodojo tasks make REPO --from history`."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import typer

from repodojo.cli.progress import Bars
from repodojo.cli.tasks_funnel import report
from repodojo.core.errors import RepodojoError
from repodojo.tasks.history.make import Options, make, walk
from repodojo.tasks.history.message import read_issues
from repodojo.tasks.store import TaskStore

STAGES = ("commits seen", "commits kept", "built", "validated")


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
        report("history of", source, STAGES, funnel, as_json)
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
