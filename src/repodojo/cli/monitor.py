"""`repodojo monitor RUN`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from repodojo.train.guard import Entry


def monitor(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    release: Annotated[
        list[str] | None, typer.Option("--release", help="Id of an episode, or an alarm: jump, collapse. Repeat.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the quarantine as one JSON object.")] = False,
) -> None:
    """Show the episodes that the monitor holds in quarantine, and release what a person found sound.

    Example: repodojo monitor runs/mine --release rl/12/0/3
    """
    from dataclasses import asdict

    from repodojo.train import guard
    from repodojo.train.rundir import RunDir

    with RunDir.read(run) as opened:
        freed = guard.release(opened, release) if release else []
        found = guard.entries(opened)
        last: dict[str, Any] = next((line for line in reversed(opened.metrics()) if "quarantined" in line), {})
    if json_:
        shown = {"run": str(run), "released": freed, "alarms": last.get("alarms", 0)}
        typer.echo(json.dumps({**shown, "quarantine": [asdict(entry) for entry in found]}))
        return
    for name in freed:
        typer.echo(f"released {name}")
    _print(found)


def _print(found: Sequence[Entry]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not found:
        typer.echo("nothing in quarantine")
        return
    table = Table("episode", "task", "stage", "reward", "state", "signs", title=f"{len(found)} suspicious episodes")
    for entry in found:
        state = "released" if entry.released else "withheld" if entry.withheld else "reported"
        reward = "none" if entry.reward is None else f"{entry.reward:g}"
        table.add_row(entry.id, entry.task_id, f"{entry.stage} {entry.step}", reward, state, "\n".join(entry.told()))
    Console().print(table)
