"""`repodojo pretrain-mini`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from repodojo.cli.progress import Bars
from repodojo.core.machine import cores


def pretrain_mini(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the base to make.")],
    prompts: Annotated[Path, typer.Option(help="default.yaml of the installed mini-swe-agent.")],
    start: Annotated[Path | None, typer.Option(help="Base to go on from (default: the one that ships).")] = None,
    tokens: Annotated[float, typer.Option(help="Tokens to train on.")] = 8e6,
    packages: Annotated[Path | None, typer.Option(help="List of packages or folders, one a line.")] = None,
    functions: Annotated[int, typer.Option(min=0, help="Functions read at most (0: as many as tokens need).")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn.")] = 0,
    work: Annotated[Path | None, typer.Option(help="Where stages are kept (default: OUT.work).")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads (0: one a core).")] = 0,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of its own that it is measured on.")] = 100,
    decay_now: Annotated[bool, typer.Option("--decay-now", help="Cut the run short: begin its decay here.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a small base that speaks mini-swe-agent's format (its prompts, one shell block an answer) of one that
    speaks the built-in agent's.

    It reads functions of published packages within transcripts of a random explorer, as `repodojo pretrain` does:
    no bug, no teacher, no package that figures are measured on. Stopped at any moment, the same command goes on.

    Example: repodojo pretrain-mini -o mini-base --prompts minisweagent/config/default.yaml
    """
    import torch

    from repodojo.train.minibase import stages
    from repodojo.train.minibase.prompts import Prompts
    from repodojo.train.pretrain import run, sources
    from repodojo.train.pretrain.loop import Schedule
    from repodojo.train.pretrain.settings import Machine, Settings

    workers = threads or cores()
    torch.set_num_threads(workers)
    settings = Settings(
        sources.read_list(packages or run.packaged_list()),
        Schedule(int(tokens)),
        functions=functions,
        seed=seed,
        episodes=episodes,
        start=start,
    )
    sources.refuse_measured(settings.requirements)
    kept = work or out.absolute().with_name(f"{out.absolute().name}.work")
    machine = Machine(torch.device("cpu"), workers=workers, every=20.0, decay_now=decay_now)
    with Bars() as bars:
        made = stages.make(settings, Prompts.load(prompts), out, kept, machine, bars)
    about = {"out": str(made.out), "functions": made.functions, "tokens": made.tokens}
    if json_:
        typer.echo(json.dumps({**about, "figures": made.figures.as_dict()}))
        return
    for name, share in made.figures.rows():
        typer.echo(f"{name}: {share}")
    typer.echo(f"{made.functions} functions, {made.tokens:,} tokens: {made.out}")
