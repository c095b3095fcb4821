"""`repodojo train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError
from repodojo.train import config as configuration


def train(
    config: Annotated[Path | None, typer.Argument(help="TOML file of settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override, e.g. --set rl.steps=10.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run, after whatever stopped it.")] = None,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting and stop.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON object.")] = False,
) -> None:
    """Train a model on a task set, or resume a run.

    Example: repodojo train my.toml --set tasks.store=tasks --set run.dir=runs/mine
    """
    if settings:
        _print_settings()
        return
    from repodojo.evaluate.tables import machine
    from repodojo.train import setup
    from repodojo.train.loop import train as run_training
    from repodojo.train.rundir import RunDir

    if resume is not None and (config is not None or set_):
        raise ConfigError("a resumed run keeps its settings", way_out="give --resume alone, or start a new run")
    if resume is not None:
        run = RunDir.resume(resume)
    else:
        loaded = configuration.load(config, set_ or ())
        if not loaded.tasks.store:
            raise ConfigError("no task set is named", way_out="make one and give --set tasks.store=DIR")
        setup.check(loaded)
        provenance = {"command": "repodojo train", "machine": machine()}
        run = RunDir.create(Path(loaded.run.dir), loaded, provenance)
    with run, Bars() as bars:
        model = run_training(run, bars)
        last = run.metrics()[-1:] or [{}]
    if json_:
        typer.echo(json.dumps({"run": str(run.path), "model": str(model), "last": last[0]}))
    else:
        typer.echo(f"model: {model}\nreport: repodojo report {run.path}")


def _print_settings() -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("setting", "type", "default", "meaning")
    for row in configuration.describe():
        table.add_row(row.name, row.kind, str(row.default), row.text)
    Console().print(table)
