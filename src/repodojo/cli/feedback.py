"""`repodojo feedback import`."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Take in what a product's users did with an agent's work.")


@app.callback()
def _feedback() -> None:
    """Makes `import` a verb of its own, though it is the only one."""


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Sessions, a JSON object a line (docs/feedback.md).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write.")] = Path("feedback"),
    repo: Annotated[str, typer.Option(help="Repository whose history tells what became of commits.")] = "",
    agent: Annotated[str, typer.Option(help="With --repo: take commits whose author or message matches, too.")] = "",
    days: Annotated[str, typer.Option(help="With --repo: intervals of code retention, in days.")] = "1,7,30",
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Take in sessions of a product: task weights, reward settings and preference pairs, without secrets.

    Example: repodojo feedback import sessions.jsonl -o feedback --repo . --agent "Co-authored-by: my-agent"
    """
    from repodojo.tasks.feedback.importing import import_feedback
    from repodojo.tasks.feedback.retention import History
    from repodojo.tasks.history.repository import opened

    if agent and not repo:
        raise ConfigError("--agent does nothing without --repo", way_out="name the repository, or leave it out")
    _check(agent)
    intervals = _days(days)
    size = file.stat().st_size if file.is_file() else 0
    with tempfile.TemporaryDirectory(prefix="repodojo-feedback-") as scratch, Bars() as bars:
        history = History(opened(repo, Path(scratch))) if repo else None
        bars.phase("sessions (bytes)", size)
        summary = import_feedback(file, out, history=history, agent=agent, days=intervals, on_bytes=bars.advance)
    if json_:
        typer.echo(json.dumps({"out": str(out), **asdict(summary)}))
        return
    table = Table(title=f"feedback in {out}", title_justify="left", show_header=False)
    for name, value in asdict(summary).items():
        table.add_row(name.replace("_", " "), _shown(value))
    Console().print(table)
    if summary.malformed:
        typer.secho(f"{summary.malformed} rows could not be read: {out / 'malformed.jsonl'}", fg="yellow", err=True)


def _check(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--agent is no regular expression: {error}", way_out="correct it") from None


def _days(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"--days {text!r} is no list of days", way_out="write whole numbers, e.g. --days 1,7,30")
    return tuple(sorted({int(part) for part in parts}))


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) or "none"
    return f"{value:.3f}" if isinstance(value, float) else "not known" if value is None else str(value)
