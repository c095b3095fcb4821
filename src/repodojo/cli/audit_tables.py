"""What `repodojo audit` prints: a verdict on attacks, and the weakness of tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from repodojo.audit.play import CONTROL, PAID_CONTROLS, Play
from repodojo.audit.summary import Row, Verdict

if TYPE_CHECKING:
    from repodojo.audit.mutants import Weakness


def print_verdict(
    verdict: Verdict, tries: Mapping[str, str], tasks: int, *, as_json: bool, found: Mapping[str, Any]
) -> None:
    """The verdict as a table or as one JSON object; `found` is what a search says (see `audit_search`)."""
    if as_json:
        typer.echo(json.dumps({**_object(verdict, tries), "tasks": tasks, **found}))
        return
    console = Console()
    table = Table("no.", "attack", "tasks", "paid", "in part", "no verdict", "by which defence", title=f"{tasks} tasks")
    for row in verdict.rows:
        number = "" if row.family == CONTROL else str(row.family or "own")
        partly = f"[red]{row.partly}[/]" if row.partly else "0"
        defences = ", ".join(f"{name} ({count})" for name, count in row.defences.most_common())
        cells = (str(row.tasks), _count(row), partly, str(row.outages or ""))
        table.add_row(number, escape(row.name), *cells, escape(defences))
    console.print(table)
    for task_id, reasons in verdict.rejected.items():
        console.print(f"reject {task_id}: {escape('; '.join(reasons))}")
    for play in verdict.exploits:
        console.print(f"[red]paid {_amount(play)}[/] {escape(play.name)} on {play.task_id}")
    if found:
        told = found["search"]
        console.print(
            f"search: {told['episodes']} episodes, {told['paid']} paid without solving, {told['honest']} mended"
        )
        for path in told["found"]:
            console.print(f"[red]saved[/] {escape(path)}")
    attacks = sum(row.tasks for row in verdict.rows if row.family != CONTROL)
    console.print(f"{len(verdict.exploits)} of {attacks} attacks paid, {len(verdict.rejected)} tasks rejected")


def _object(verdict: Verdict, tries: Mapping[str, str]) -> dict[str, Any]:
    extra = [{"defences": dict(row.defences), "tries": tries.get(row.name, "")} for row in verdict.rows]
    rows = [{**asdict(row), **more} for row, more in zip(verdict.rows, extra, strict=True)]
    found = {"exploits": [asdict(p) for p in verdict.exploits], "open": [asdict(p) for p in verdict.open]}
    return {"clean": verdict.clean, "rows": rows, "rejected": verdict.rejected, **found}


def _amount(play: Play) -> str:
    return "" if play.value is None else f"{play.value:g}"


def _count(row: Row) -> str:
    """Red where it is not as it must be."""
    wanted = row.tasks if row.family == CONTROL and row.name in PAID_CONTROLS else 0
    return str(row.paid) if row.paid == wanted else f"[red]{row.paid}[/]"


def print_mutants(found: Sequence[Weakness], threshold: float, *, as_json: bool) -> None:
    """How many wrong patches each task's tests accept."""
    if as_json:
        typer.echo(json.dumps({"threshold": threshold, "tasks": [{**asdict(w), "marked": w.marked} for w in found]}))
        return
    console = Console()
    table = Table(
        Column("task", no_wrap=True),
        "patches",
        "accepted by tests",
        "of these wrong",
        "paid",
        "caught by offered tests",
        "",
    )
    for weak in found:
        mark = "[yellow]weak tests[/]" if weak.marked else ""
        caught = f"{weak.caught} by {len(weak.offered)}" if weak.offered else ""
        table.add_row(weak.task_id, *map(str, (weak.tried, weak.accepted, weak.wrong, weak.paid)), caught, mark)
    console.print(table)
    for weak in found:
        for line in weak.offered if weak.marked else ():
            console.print(f"{weak.task_id}: {escape(line)}", highlight=False)
    tried, wrong = sum(weak.tried for weak in found), sum(weak.wrong for weak in found)
    marked = sum(weak.marked for weak in found)
    console.print(f"{wrong} of {tried} patches are wrong and accepted; {marked} tasks above {threshold:g}")
