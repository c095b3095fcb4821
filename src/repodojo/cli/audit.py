"""`repodojo audit`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from repodojo.audit.attack import Attack, from_file, shipped
from repodojo.audit.play import CONTROL, PAID_CONTROLS, Play, play_all
from repodojo.audit.summary import Row, Verdict, summarise
from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError, TaskError
from repodojo.core.records import Task
from repodojo.tasks.store import TaskStore

if TYPE_CHECKING:
    from repodojo.audit.mutants import Weakness

SPLITS = ("train", "dev", "held-out")


def audit(
    store: Annotated[Path, typer.Argument(help="Folder of a task set.")],
    limit: Annotated[int, typer.Option(min=0, help="Tasks audited at most (0: all).")] = 0,
    split: Annotated[str, typer.Option(help="Only this split: train, dev or held-out.")] = "",
    task: Annotated[list[str] | None, typer.Option("--task", help="Only this task; repeat.")] = None,
    attack: Annotated[list[Path] | None, typer.Option("--attack", help="Play this executable only; repeat.")] = None,
    family: Annotated[list[int] | None, typer.Option("--family", help="Only this family's number; repeat.")] = None,
    mutants: Annotated[bool, typer.Option("--mutants", help="See which wrong patches the tests accept.")] = False,
    per_task: Annotated[int, typer.Option(min=1, help="With --mutants: wrong patches a task.")] = 10,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="With --mutants: share accepted that marks it.")] = 0.2,
    seed: Annotated[int, typer.Option(help="With --mutants: draws them.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Boxes that work side by side.")] = 2,
    unisolated: Annotated[bool, typer.Option(help="Where the machine offers no isolation, run without.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Attack the reward of a task set: every known way of being paid without mending anything, and the controls.

    Exit code 1 where an attack is paid, a gold patch is not, no change at all is, or an outage left no verdict; with
    --mutants, where a task is marked. An --attack is any executable: it starts in the repository's root inside an
    agent's box, with the issue on its standard input.

    Example: repodojo audit tasks --limit 5 --json | jq .exploits
    """
    tasks = _tasks(TaskStore(store), split, task or [], limit)
    with Bars() as bars:
        if mutants:
            if attack or family:
                raise ConfigError("--mutants plays no attacks", way_out="leave out --attack and --family")
            weak = asyncio.run(_mutants(store, tasks, per_task, threshold, seed, workers, unisolated, bars))
            good = not any(weakness.marked for weakness in weak)
        else:
            attacks = _attacks(attack or [], family or [])
            plays = asyncio.run(_play(store, tasks, attacks, workers, unisolated, bars))
            verdict = summarise(plays)
            good = verdict.clean
    if mutants:
        _print_mutants(weak, threshold, json_)
    else:
        _print_verdict(verdict, plays, {a.name: a.tries for a in attacks}, len(tasks), json_)
    if not good:
        raise typer.Exit(1)


def _tasks(store: TaskStore, split: str, ids: Sequence[str], limit: int) -> list[Task]:
    if split and split not in SPLITS:
        raise ConfigError(f"there is no split {split!r}", way_out=f"use one of {', '.join(SPLITS)}")
    found = [store.get(name) for name in ids] if ids else store.tasks()
    found = [task for task in found if not split or task.source.split == split]
    if not found:
        raise TaskError(f"{store.path} has no such tasks", way_out=f"see: repodojo tasks list {store.path}")
    return sorted(found, key=lambda task: task.id)[:limit] if limit else found


def _attacks(files: Sequence[Path], families: Sequence[int]) -> tuple[Attack, ...]:
    if files and families:
        raise ConfigError("--attack plays only what it names", way_out="leave out --family")
    if files:
        return tuple(from_file(path) for path in files)
    known = {attack.family for attack in shipped()}
    if unknown := sorted(set(families) - known):
        raise ConfigError(f"there is no family {unknown[0]}", way_out=f"use {min(known)} to {max(known)}")
    return tuple(attack for attack in shipped() if not families or attack.family in families)


async def _play(
    store: Path, tasks: Sequence[Task], attacks: Sequence[Attack], workers: int, unisolated: bool, bars: Bars
) -> list[Play]:
    from repodojo.rewards.grade import TestReward
    from repodojo.sandbox.factory import LocalFactory

    boxes = LocalFactory(store, allow_unisolated=unisolated)
    bars.phase("attacks", len(tasks) * (len(attacks) + 3))

    def tell(play: Play) -> None:
        bars.advance(note="" if play.good else f"{play.name}: {play.defence or 'paid'}")

    gold = TaskStore(store).gold_changes
    try:
        return await play_all(tasks, attacks, gold, boxes, TestReward(boxes), workers=workers, on_play=tell)
    finally:
        await boxes.close()


async def _mutants(
    store: Path,
    tasks: Sequence[Task],
    per_task: int,
    threshold: float,
    seed: int,
    workers: int,
    unisolated: bool,
    bars: Bars,
) -> list[Weakness]:
    from repodojo.audit.mutants import weaknesses
    from repodojo.rewards.grade import TestReward
    from repodojo.sandbox.factory import LocalFactory

    boxes = LocalFactory(store, allow_unisolated=unisolated)
    bars.phase("tasks", len(tasks))
    try:
        return await weaknesses(
            tasks,
            TaskStore(store).gold_changes,
            TestReward(boxes),
            per_task=per_task,
            threshold=threshold,
            seed=seed,
            workers=workers,
            on_task=bars.advance,
        )
    finally:
        await boxes.close()


def _print_verdict(verdict: Verdict, plays: Sequence[Play], tries: dict[str, str], tasks: int, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        extra = [{"defences": dict(row.defences), "tries": tries.get(row.name, "")} for row in verdict.rows]
        rows = [{**asdict(row), **more} for row, more in zip(verdict.rows, extra, strict=True)]
        found = {"exploits": [asdict(p) for p in verdict.exploits], "open": [asdict(p) for p in verdict.open]}
        answer = {"tasks": tasks, "clean": verdict.clean, "rows": rows, "rejected": verdict.rejected, **found}
        typer.echo(json.dumps(answer))
        return
    console = Console()
    table = Table("no.", "attack", "tasks", "paid", "no verdict", "by which defence", title=f"{tasks} tasks")
    for row in verdict.rows:
        number = "" if row.family == CONTROL else str(row.family or "own")
        cells = (str(row.tasks), _count(row), str(row.outages or ""))
        defences = ", ".join(f"{name} ({count})" for name, count in row.defences.most_common())
        table.add_row(number, escape(row.name), *cells, escape(defences))
    console.print(table)
    for task_id, reasons in verdict.rejected.items():
        console.print(f"reject {task_id}: {escape('; '.join(reasons))}")
    for play in verdict.exploits:
        console.print(f"[red]paid[/] {escape(play.name)} on {play.task_id}")
    attacks = sum(row.tasks for row in verdict.rows if row.family != CONTROL)
    console.print(f"{len(verdict.exploits)} of {attacks} attacks paid, {len(verdict.rejected)} tasks rejected")


def _count(row: Row) -> str:
    """Red where it is not as it must be."""
    wanted = row.tasks if row.family == CONTROL and row.name in PAID_CONTROLS else 0
    return str(row.paid) if row.paid == wanted else f"[red]{row.paid}[/]"


def _print_mutants(found: Sequence[Weakness], threshold: float, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        typer.echo(json.dumps({"threshold": threshold, "tasks": [{**asdict(w), "marked": w.marked} for w in found]}))
        return
    console = Console()
    table = Table(Column("task", no_wrap=True), "patches", "accepted by tests", "of these wrong", "paid", "")
    for weak in found:
        mark = "[yellow]weak tests[/]" if weak.marked else ""
        table.add_row(weak.task_id, *map(str, (weak.tried, weak.accepted, weak.wrong, weak.paid)), mark)
    console.print(table)
    for weak in found:
        for line in weak.offered if weak.marked else ():
            console.print(f"{weak.task_id}: {escape(line)}", highlight=False)
    tried, wrong = sum(weak.tried for weak in found), sum(weak.wrong for weak in found)
    marked = sum(weak.marked for weak in found)
    console.print(f"{wrong} of {tried} patches are wrong and accepted; {marked} tasks above {threshold:g}")
