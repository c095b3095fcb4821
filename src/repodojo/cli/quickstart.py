"""`repodojo quickstart`: see it learn, from real packages to a held-out table, in minutes on a laptop."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError


def quickstart(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.")] = Path("runs/quickstart"),
    store: Annotated[Path, typer.Option(help="Task set; made first where it is missing.")] = Path("runs/tasks"),
    seed: Annotated[int, typer.Option(help="Seed of everything but the task set.")] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the rows as one JSON object.")] = False,
) -> None:
    """See it learn: tasks from real packages, base, rejection fine-tuning, RL, and the held-out table.

    An unfinished run in --out is resumed. Example: repodojo quickstart --seed 1 -o runs/seed1
    """
    from repodojo.core.machine import described
    from repodojo.dashboard.report import write_report
    from repodojo.evaluate.tables import read_rows, rich_table
    from repodojo.train import config as configuration
    from repodojo.train import quickstart as quick
    from repodojo.train.rundir import RunDir, is_run

    console = Console(stderr=json_)
    results = out / quick.RESULTS
    if is_run(out) and (set_ or seed):
        raise ConfigError(f"{out} holds a run, which keeps its settings", way_out="leave them out, or name another -o")
    if results.is_file():
        console.print(f"{out} is finished; its table again (another run: repodojo quickstart -o FOLDER)")
    else:
        command = " ".join([f"repodojo quickstart --seed {seed}", *(f"--set {text}" for text in set_ or ())])
        own = [f"run.dir={json.dumps(str(out))}", f"run.seed={seed}", f"tasks.store={json.dumps(str(store))}"]
        recipe = Path(str(files("repodojo") / "assets" / "quickstart.toml"))
        config = configuration.load(recipe, [*own, *(set_ or ())])
        with Bars() as bars:
            quick.make_tasks(store, bars.making, allow_unisolated=config.sandbox.allow_unisolated)
            provenance = {"command": command, "machine": described()}
            run = RunDir.resume(out) if is_run(out) else RunDir.create(out, config, provenance)
            with run:
                quick.Quickstart(run, bars, run.provenance.get("command", command)).play()
    rows = read_rows(results)
    page = write_report(out)
    if json_:
        typer.echo(results.read_text())
        return
    title = "Held-out packages, pass rates in percent with 95% intervals"
    console.print(rich_table(list(rows.values()), title=title, width=console.width))
    console.print(f"figures: {results}\nreport: {page}")
