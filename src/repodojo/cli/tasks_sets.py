"""`repodojo tasks import|export|validate|stats|split`: whole task sets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from repodojo.cli.progress import Bars
from repodojo.cli.tasks_words import AsJson, Store, split_named
from repodojo.core.errors import TaskError
from repodojo.core.records import Split
from repodojo.tasks.formats import FORMATS, rows
from repodojo.tasks.importing import Report, give, take
from repodojo.tasks.store import TaskStore

EVERY = 100
NAMES = ", ".join(FORMATS)


def _steps(bars: Bars) -> Callable[[int], None]:
    """Moves a bar once in EVERY rows: drawing must not cost more than reading."""

    def tell(done: int) -> None:
        if done % EVERY == 0:
            bars.advance(EVERY)

    return tell


def _size(store: TaskStore) -> int:
    """Tasks in a set, by its manifest."""
    return sum(entry.get("tasks", 0) for entry in store.manifest["packages"].values())


def import_tasks(
    files: Annotated[list[Path], typer.Argument(help=".jsonl, .json, .parquet, or a folder of task folders")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the task set; it may hold tasks already")],
    format_name: Annotated[str, typer.Option("--format", help=f"where it is not to be recognised: {NAMES}")] = "",
    split: Annotated[str, typer.Option(help="train, dev or held-out")] = "train",
    dataset: Annotated[str, typer.Option(help="name of the source (default: the file's)")] = "",
    as_json: AsJson = False,
) -> None:
    """Take in a task set of another project, losing nothing. A malformed row is named and does not stop the others.

    Example: repodojo tasks import SWE-bench_Verified.parquet -o verified --split held-out
    """
    store, found = TaskStore(out, create=True), list[dict[str, Any]]()
    for file in files:
        started = time.monotonic()
        with Bars() as bars:
            bars.phase(f"import {file.name}", rows.total(file))
            report = take(file, store, split=split_named(split), dataset=dataset, kind=format_name, tell=_steps(bars))
        found.append({"file": str(file), **_as_dict(report), "seconds": round(time.monotonic() - started, 2)})
    _say(found, as_json, f"in {out}")


def export_tasks(
    store: Store,
    out: Annotated[Path, typer.Option("-o", "--out", help="file (.jsonl, .json, .parquet), or folder for folders")],
    format_name: Annotated[str, typer.Option("--format", help=f"one of {NAMES}")],
    split: Annotated[str, typer.Option(help="only this split")] = "",
    as_json: AsJson = False,
) -> None:
    """Write a task set in a format of the field: unchanged where it came in that format, else translated.

    Example: repodojo tasks export my-tasks --format swe-bench -o tasks.jsonl
    """
    tasks = TaskStore(store)
    with Bars() as bars:
        bars.phase(f"export {format_name}", _size(tasks))
        report = give(tasks, out, format_name, split=split_named(split) if split else None, tell=_steps(bars))
    _say([{"file": str(out), **_as_dict(report)}], as_json, f"to {out}")
    if not report.funnel["written"]:
        raise TaskError(f"no task of {store} can be said as {format_name}", way_out="see the reasons above")


def _as_dict(report: Report) -> dict[str, Any]:
    return {**{k: v for k, v in report.funnel.items() if v}, "formats": dict(report.formats), "errors": report.errors}


def _say(found: list[dict[str, Any]], as_json: bool, where: str) -> None:
    console = Console()
    for line in found:
        if as_json:
            print(json.dumps(line))
            continue
        kinds = f" ({', '.join(line['formats'])})" if line["formats"] else ""
        counts = ", ".join(f"{value} {key}" for key, value in line.items() if isinstance(value, int))
        console.print(f"{line['file']}{kinds}: {counts} {where}", highlight=False, soft_wrap=True)
        for error in line["errors"]:
            typer.secho(f"  {error}", fg="yellow", err=True)


def validate(
    store: Store,
    limit: Annotated[int, typer.Option(min=0, help="check only so many, drawn by --seed (0: all)")] = 0,
    seed: Annotated[int, typer.Option(help="draws what is checked")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="boxes that work side by side")] = 2,
    unisolated: Annotated[bool, typer.Option(help="where the machine offers no isolation, run without")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that the solution is paid, doing nothing is not, and nothing gives the answer away. Exit code 1 if not.

    Example: repodojo tasks validate my-tasks --limit 100
    """
    from repodojo.sandbox.factory import LocalFactory
    from repodojo.tasks import validate as validation

    async def run(tell: Callable[[int, int], None]) -> list[validation.Verdict]:
        factory = LocalFactory(store, allow_unisolated=unisolated)
        try:
            return await validation.validate(
                TaskStore(store), factory, limit=limit, seed=seed, workers=workers, tell=tell
            )
        finally:
            await factory.close()

    with Bars() as bars:
        begun: list[int] = []

        def tell(done: int, of: int) -> None:
            if not begun:
                begun.append(of)
                bars.phase("validate", of)
            bars.advance()

        verdicts = asyncio.run(run(tell))
    for verdict in sorted(verdicts, key=lambda v: v.id):
        if as_json:
            print(json.dumps(validation.as_row(verdict)))
        elif not verdict.sound:
            print(f"{verdict.id}  {verdict.fate}: {'; '.join(filter(None, (verdict.reason, *verdict.leaks)))}")
    if not as_json:
        fates = [verdict.fate for verdict in verdicts]
        print(f"{len(verdicts)} tasks: " + ", ".join(f"{fates.count(f)} {f}" for f in sorted(set(fates))))
    if any(verdict.fate not in ("sound", "not run") for verdict in verdicts):
        raise typer.Exit(1)


def stats(store: Store, as_json: AsJson = False) -> None:
    """What a task set holds: counts, sizes, licences, what it came from and what was validated.

    Example: repodojo tasks stats my-tasks --json
    """
    from repodojo.tasks.stats import measure

    found = measure(TaskStore(store))
    if as_json:
        print(json.dumps(found))
        return
    table = Table("", "", show_header=False)
    for name, value in found.items():
        text = ", ".join(f"{k or 'unknown'} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(name, text)
    Console().print(table)


def split_tasks(
    store: Store,
    dev: Annotated[float, typer.Option(min=0, max=1, help="share of tasks for dev")] = 0.0,
    held_out: Annotated[float, typer.Option(min=0, max=1, help="share of tasks held out")] = 0.0,
    seed: Annotated[int, typer.Option(help="orders groups of one size")] = 0,
    threshold: Annotated[float, typer.Option(min=0.5, max=1, help="similarity from which two are one")] = 0.8,
    languages: Annotated[str, typer.Option("--hold-out-languages", help="with commas: whole languages held out")] = "",
    as_json: AsJson = False,
) -> None:
    """Check that splits share no repository, function or near-duplicate; with shares given, divide the set anew.

    A language that is held out takes along the repositories that it is in.

    Example: repodojo tasks split my-tasks --dev 0.1 --held-out 0.2

    Example: repodojo tasks split my-edits --held-out 0.2 --hold-out-languages rust,lua
    """
    from collections import Counter

    from repodojo.tasks.splits import divide, groups

    tasks = TaskStore(store)
    shares: dict[Split, float] = {"train": 1 - dev - held_out, "dev": dev, "held-out": held_out}
    apart = tuple(filter(None, languages.split(",")))
    anew = bool(dev or held_out or apart)
    with Bars() as bars:
        bars.phase("compare tasks", _size(tasks) * (2 if anew else 1))
        tell = _steps(bars)
        found = divide(tasks, shares, seed, threshold, apart, tell) if anew else groups(tasks, threshold, tell)
    counts = Counter(found.splits)
    for split, share in shares.items():
        if anew and share and not counts[split]:
            largest = max(Counter(found.groups).values(), default=0)
            why = f"what shares something stays together, and the largest group has {largest} of {len(found.ids)} tasks"
            typer.secho(f"no task is in the split {split!r}: {why}", fg="yellow", err=True)
    shared = Counter(item.what for item in found.shared)
    if as_json:
        pairs = [[item.what, item.first, item.second] for item in found.shared[:100]]
        print(json.dumps({"splits": counts, "groups": len(set(found.groups)), "shared": shared, "pairs": pairs}))
    else:
        print(f"{len(set(found.groups))} groups; " + ", ".join(f"{counts[s]} {s}" for s in shares))
        for item in found.shared[:20]:
            print(f"shared {item.what}: {item.first} and {item.second}")
        print(f"shared between splits: {shared.total()}")
    if shared:
        raise typer.Exit(1)
