"""`repodojo tasks make SOURCE`: bugs put into packages, and features taken out of them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError
from repodojo.core.protocols import SandboxFactory
from repodojo.tasks.make import Options
from repodojo.tasks.mutate import ALL_KINDS
from repodojo.tasks.session import Line, make_all

STAGES = {"functions": "functions", "functions used": "used", "mutants made": "mutants", "mutants run": "run"}
STAGES |= {"mutants killed": "killed", "tasks kept": "kept"}


def kinds_named(names: str) -> tuple[str, ...]:
    """Kinds of bug from a list with commas, or "all"; ConfigError with those there are."""
    wanted = ALL_KINDS if names == "all" else tuple(filter(None, names.split(",")))
    unknown = [kind for kind in wanted if kind not in ALL_KINDS]
    if unknown or not wanted:
        raise ConfigError(f"there is no kind {(unknown or [''])[0]!r}", way_out=f"choose from {', '.join(ALL_KINDS)}")
    return wanted


def from_bugs(sources: list[str], out: Path, options: Options, *, unisolated: bool, as_json: bool) -> None:
    """Tasks of each source in turn, with a bar each; one that fails is reported and does not stop the others."""
    from repodojo.sandbox.factory import LocalFactory

    def factory(store: Path) -> SandboxFactory:
        return LocalFactory(store, allow_unisolated=unisolated)

    with Bars() as bars:
        lines = asyncio.run(make_all(sources, out, options, factory, bars.making))
    _report(Console(stderr=as_json), lines, out, as_json)


def _report(console: Console, lines: list[Line], out: Path, as_json: bool) -> None:
    for line in lines if as_json else ():
        row = {"source": line.source, "funnel": dict(line.made.funnel), "added": line.added, "seconds": line.seconds}
        print(json.dumps({**row, "error": str(line.error) if line.error else ""}))
    if not as_json:
        _table(console, lines, out)
    failed = [line for line in lines if line.error]
    for line in failed:
        typer.secho(f"error: {line.source}: {line.error}", fg="red", err=True)
    if failed:
        raise typer.Exit(2)


def _table(console: Console, lines: list[Line], out: Path) -> None:
    table = Table("source", *STAGES.values(), "ms each", "s")
    for line in lines:
        funnel = line.made.funnel
        each = f"{1000 * line.made.run_seconds / funnel['mutants run']:.0f}" if funnel["mutants run"] else ""
        table.add_row(line.source, *(str(funnel[stage]) for stage in STAGES), each, f"{line.seconds:.0f}")
    console.print(table)
    lost = sum((line.made.funnel for line in lines), Counter[str]())
    for name, count in sorted(lost.items()):
        if name not in STAGES and count:
            console.print(f"  {count:6d} {name}")
    console.print(f"{sum(line.added for line in lines)} new tasks in {out}")
