"""`repodojo compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError


def compare(
    file: Annotated[Path, typer.Argument(help="Sweep file, e.g. of recipes/sweeps.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the sweep; goes on where it stopped.")],
    seeds: Annotated[str, typer.Option(help="Only these seeds, with commas (default: the file's).")] = "",
    only: Annotated[str, typer.Option(help="Only these variants, with commas; the reference must be among them.")] = "",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override for every run; repeat.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print results.json.")] = False,
) -> None:
    """Train variants of a configuration over seeds and compare them, task by task, in one table.

    Example: repodojo compare recipes/sweeps/overlong.toml -o runs/overlong --set tasks.store=runs/tasks

    Example: repodojo compare recipes/sweeps/overlong.toml -o runs/part --seeds 0 --only penalise,mask

    Runs unattended: what was stopped goes on with the same command, and a run that fails does not stop the others
    (exit code 1 then).
    """
    from repodojo.evaluate.tables import rate, rich_table
    from repodojo.train.sweep import read
    from repodojo.train.sweeping import RESULTS, Sweeping

    words = [f"repodojo compare {file} -o {out}", *([f"--seeds {seeds}"] if seeds else [])]
    words += [*([f"--only {only}"] if only else []), *(f"--set {text}" for text in set_ or ())]
    sweep = read(file).narrowed(seeds=_numbers(seeds), only=[name for name in only.split(",") if name])
    with Bars() as bars:
        sweeping = Sweeping(sweep, out, bars, tuple(set_ or ()), " ".join(words))
        rows = sweeping.play()
    if json_:
        typer.echo((out / RESULTS).read_text())
    else:
        console = Console()
        title = f"{sweeping.sweep.about or file.stem}: {len(sweeping.sweep.seeds)} seeds, {len(sweeping.tasks)} tasks"
        console.print(rich_table(list(rows.values()), title=title, width=console.width))
        for d in sweeping.differences(rows):
            console.print(f"{d.better} - {d.worse}: {rate(d.value, d.ci)} points, {d.tasks} tasks", highlight=False)
        console.print(f"figures: {out / RESULTS}")
    for name, text in sweeping.errors.items():
        typer.secho(f"failed: {name}: {text}", fg="red", err=True)
    if sweeping.errors:
        raise typer.Exit(1)


def _numbers(text: str) -> list[int]:
    """Seeds with commas between them; ConfigError for what is no number."""
    try:
        return [int(word) for word in text.split(",") if word]
    except ValueError:
        raise ConfigError(f"--seeds {text!r} are no numbers", way_out="write e.g. --seeds 0,1,2") from None
