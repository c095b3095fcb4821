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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what this would be, and stop.")] = False,
    accelerator: Annotated[str, typer.Option(help="For --dry-run: local, a100, h100 or h200.")] = "local",
    accelerators: Annotated[int, typer.Option(help="For --dry-run: how many.")] = 1,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting and stop.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON object.")] = False,
) -> None:
    """Train a model on a task set, or resume a run.

    Example: repodojo train my.toml --set tasks.store=tasks --set run.dir=runs/mine

    Batch arithmetic, memory and time without running anything:
    repodojo train recipes/deepswe-32b.toml --dry-run --accelerator h100 --accelerators 64
    """
    if settings:
        _print_settings()
        return
    if dry_run:
        if resume is not None:
            raise ConfigError("a resumed run keeps its settings", way_out="plan its config.toml instead")
        _plan(configuration.load(config, set_ or ()), accelerator, accelerators, json_)
        return
    if accelerator != "local" or accelerators != 1:
        raise ConfigError("accelerators are for estimates", way_out="give them together with --dry-run")
    from repodojo.core.machine import described
    from repodojo.train import setup
    from repodojo.train.loop import train as run_training
    from repodojo.train.plan import warnings_of
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
        for text in warnings_of(loaded):
            typer.secho(f"warning: {text}", fg="yellow", err=True)
        provenance = {"command": "repodojo train", "machine": described()}
        run = RunDir.create(Path(loaded.run.dir), loaded, provenance)
    with run, Bars() as bars:
        model = run_training(run, bars)
        last = run.metrics()[-1:] or [{}]
    if json_:
        typer.echo(json.dumps({"run": str(run.path), "model": str(model), "last": last[0]}))
    else:
        typer.echo(f"model: {model}\nreport: repodojo report {run.path}")


def _plan(config: configuration.Config, accelerator: str, accelerators: int, as_json: bool) -> None:
    from repodojo.cli.plan import show
    from repodojo.train import estimates
    from repodojo.train.plan import plan

    made = plan(config, estimates.machine(accelerator, accelerators))
    if as_json:
        typer.echo(json.dumps(made.values()))
    else:
        show(made)


def _print_settings() -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("setting", "type", "default", "meaning")
    for row in configuration.describe():
        table.add_row(row.name, row.kind, str(row.default), row.text)
    Console().print(table)
