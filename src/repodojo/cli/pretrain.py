"""`repodojo pretrain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError
from repodojo.core.machine import cores
from repodojo.inference.devices import device_of

if TYPE_CHECKING:
    from repodojo.train.pretrain.gate import Gate
    from repodojo.train.pretrain.settings import Machine, Settings


def pretrain(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the base to make.")] = None,
    tokens: Annotated[float, typer.Option(help="Tokens to train on.")] = 20e6,
    packages: Annotated[Path | None, typer.Option(help="List of packages or folders, one a line.")] = None,
    functions: Annotated[int, typer.Option(min=0, help="Functions read at most (0: as many as tokens need).")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn.")] = 0,
    work: Annotated[Path | None, typer.Option(help="Where stages are kept (default: OUT.work).")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads and worker processes (0: one a core).")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of drill after training.")] = 2,
    drill: Annotated[int, typer.Option(min=1, help="Episodes of each round of drill.")] = 800,
    spread: Annotated[float, typer.Option(min=0, help="Weight of the explorer's own shares in drill.")] = 0.25,
    sharpness: Annotated[float, typer.Option(min=0.1, help="Factor on the logits at the end.")] = 1.25,
    start: Annotated[Path | None, typer.Option(help="Base to go on from (default: none).")] = None,
    decay_now: Annotated[bool, typer.Option("--decay-now", help="Cut the run short: begin its decay here.")] = False,
    gate_only: Annotated[Path | None, typer.Option(help="Only measure this model folder.")] = None,
    held: Annotated[float, typer.Option(min=0, max=1, help="Share of functions kept for the gate.")] = 0.004,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of the gate.")] = 200,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train the small base that ships with the package, and put it through its gate.

    Stopped at any moment, the same command goes on. Exit code 1 where the gate fails.

    Example: repodojo pretrain -o my-base --tokens 20e6
    """
    import torch

    from repodojo.train.pretrain import run, sources
    from repodojo.train.pretrain.finish import Finish
    from repodojo.train.pretrain.loop import Schedule
    from repodojo.train.pretrain.settings import Machine, Settings

    target = gate_only or out
    if target is None or (gate_only and out):
        raise ConfigError("give a folder to write, or a model to measure", way_out="use -o DIR or --gate-only DIR")
    workers = threads or cores()
    torch.set_num_threads(workers)
    settings = Settings(
        sources.read_list(packages or run.packaged_list()),
        Schedule(int(tokens)),
        functions=functions,
        seed=seed,
        held=held,
        episodes=episodes,
        finish=Finish(drill, rounds, spread=spread, sharpness=sharpness),
        start=start,
    )
    kept = work or target.absolute().with_name(f"{target.absolute().name}.work")
    with Bars() as bars:
        if gate_only:
            figures, report = run.check(gate_only, settings, kept, bars), dict[str, object]()
        else:
            machine = Machine(device_of(device), workers=workers, decay_now=decay_now)
            figures, report = _make(settings, target, kept, machine, bars)
    _print(figures, report, json_)
    if not figures.passed:
        raise typer.Exit(1)


def _make(settings: Settings, out: Path, work: Path, machine: Machine, bars: Bars) -> tuple[Gate, dict[str, object]]:
    from repodojo.train.pretrain import run

    result = run.run(settings, out, work, machine, bars)
    for name, reason in result.missed:
        typer.secho(f"warning: {name}: {reason}", fg="yellow", err=True)
    return result.gate, {
        "out": str(out),
        "packages": [f"{p.requirement} ({p.licence or 'licence not stated'})" for p in result.packages],
        "missed": dict(result.missed),
        "functions": result.functions,
        "tokens": result.tokens,
    }


def _print(figures: Gate, report: dict[str, object], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**report, "gate": figures.as_dict()}))
        return
    table = Table("measure", "value [95%]", title="gate passed" if figures.passed else "gate failed")
    for name, share in figures.rows():
        table.add_row(name, str(share))
    Console().print(table)
    if report:
        typer.echo(f"{report['functions']} functions, {report['tokens']:,} tokens: {report['out']}")
