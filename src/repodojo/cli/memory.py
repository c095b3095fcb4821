"""`repodojo memory`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def memory(
    file: Annotated[Path, typer.Argument(help="The file of notes: memory.db in a run's folder.")],
    repo: Annotated[str, typer.Option(help="Only this repository's.")] = "",
    forget: Annotated[list[int] | None, typer.Option("--forget", help="Drop the note of this number; repeat.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show notes with where they came from; a note that quotes its task's answer is kept, and shown to no episode.

    Example: repodojo memory runs/mine/memory.db --forget 3
    """
    from repodojo.agent.memory import Memory

    dropped = Memory(file, writes=True).forget(forget) if forget and file.is_file() else 0
    notes = Memory(file, writes=False).notes(repo)
    if json_:
        typer.echo(json.dumps({"notes": [asdict(note) for note in notes], "dropped": dropped}))
        return
    table = Table("number", "repository", "split", "task", "version", "about", "note", "shown")
    for n in notes:
        shown = "yes" if n.clean else "no: it quotes an answer"
        table.add_row(str(n.id), n.repo, n.split, n.task_id, str(n.version), n.about, n.text, shown)
    Console().print(table)
