"""`repodojo tabulate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from repodojo.core.errors import RunError


def tabulate(
    source: Annotated[Path, typer.Argument(help="Folder of a sweep, or what `bench NAME --json` wrote.")],
    into: Annotated[Path | None, typer.Option(help="Document whose place for these figures is filled.")] = None,
    name: Annotated[str, typer.Option(help="Name of that place (default: of the sweep's file, or bench-NAME).")] = "",
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print figures of a sweep or a benchmark as Markdown, or put them into a document: none is copied by hand.

    Example: repodojo tabulate runs/overlong --into docs/results.md

    The place in the document is what stands between the lines <!-- NAME --> and <!-- /NAME -->.
    """
    from repodojo.evaluate.sweeps import bench_markdown, markdown, put
    from repodojo.train.sweeping import RESULTS

    if name and into is None:
        raise RunError("--name would do nothing without --into", way_out="name the document, too")
    if source.is_file():
        usual, text = bench_markdown(source)
    else:
        text = markdown(source / RESULTS)
        usual = str(json.loads((source / RESULTS).read_text(encoding="utf-8"))["name"])
    place = name or usual
    if into is not None:
        put(into, place, text)
    if json_:
        typer.echo(json.dumps({"name": place, "into": str(into or ""), "markdown": text}))
    else:
        typer.echo(f"{place}: {into}" if into else text)
