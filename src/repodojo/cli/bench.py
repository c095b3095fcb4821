"""`repodojo bench NAME`: one benchmark, both sides in one process on the same work."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from repodojo.core.errors import UserError
from repodojo.core.machine import described


def names() -> list[str]:
    """The benchmarks there are: modules of `cli.benches` without a leading underscore, `-` for `_` within."""
    from repodojo.cli import benches

    modules = (m.name for m in pkgutil.iter_modules(benches.__path__) if not m.name.startswith("_"))
    return sorted(name.replace("_", "-") for name in modules)


def bench(
    name: Annotated[str, typer.Argument(help="Which; leave out to list them.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: shows that it works, not how fast.")] = False,
    boxes: Annotated[int, typer.Option(min=0, help="For sandbox: boxes alive at once (0: 200).")] = 0,
    alone: Annotated[bool, typer.Option("--alone", help="For sandbox: leave out what ours is compared with.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Of `pipeline`: play in real time, on fake engines.")] = False,
    peer: Annotated[Path | None, typer.Option(help="Of end-to-end, decode, multiturn: the peer's folder.")] = None,
    steps: Annotated[int, typer.Option(min=0, help="Of end-to-end: steps of training (0: 10).")] = 0,
    tasks: Annotated[Path | None, typer.Option(help="Of end-to-end: a task store, in place of its own.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object; `ratio` is the headline.")] = False,
) -> None:
    """Measure one part against its alternative; a ratio above 1 means that this project's way is better.

    Example: repodojo bench train --json | jq .ratio

    repodojo bench sandbox --boxes 1000
    """
    known = names()
    if not name:
        _list(known, json_)
        return
    if name not in known:
        raise UserError(f"there is no benchmark {name!r}", way_out=f"choose from {', '.join(known)}")
    module = module_of(name)
    asked = {"boxes": boxes, "alone": alone, "live": live, "peer": peer, "steps": steps, "tasks": tasks}
    more: dict[str, Any] = {key: value for key, value in asked.items() if value}
    for key in more:
        if key not in inspect.signature(module.run).parameters:
            raise UserError(f"--{key} would do nothing in bench {name}", way_out="leave it out")
    console = Console(stderr=True)
    with console.status(f"bench {name}{' (quick)' if quick else ''}"):
        found: dict[str, Any] = module.run(quick, **more)
    found = {"bench": name, **found, "quick": quick, "live": live, "machine": machine()}
    if json_:
        typer.echo(json.dumps(found))
        return
    table = Table("figure", "value", title=f"{name}: {_first_line(module.__doc__)}")
    for key, value in found.items():
        table.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was: the load is of the last minute."""
    import torch

    return {**described(), "load": round(os.getloadavg()[0], 2), "torch": str(torch.__version__)}


def _list(known: list[str], json_: bool) -> None:
    texts = {name: _first_line(module_of(name).__doc__) for name in known}
    if json_:
        typer.echo(json.dumps(texts))
        return
    table = Table("benchmark", "what is compared")
    for name, text in texts.items():
        table.add_row(name, text)
    Console().print(table)


def module_of(name: str) -> ModuleType:
    """Where a benchmark is."""
    return importlib.import_module(f"repodojo.cli.benches.{name.replace('-', '_')}")


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]
