"""`repodojo tabulate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from repodojo.core.errors import RunError


def tabulate(
    sweep: Annotated[Path, typer.Argument(help="Folder of a sweep (`repodojo compare -o`).")],
    into: Annotated[Path | None, typer.Option(help="Document whose place for this sweep is filled.")] = None,
    name: Annotated[str, typer.Option(help="Name of that place (default: that of the sweep's file).")] = "",
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the figures of a sweep as Markdown, or put them into a document, so that none is copied by hand.

    Example: repodojo tabulate runs/overlong --into docs/results.md

    The place in the document is what stands between the lines <!-- NAME --> and <!-- /NAME -->.
    """
    from repodojo.evaluate.sweeps import markdown, put
    from repodojo.train.sweeping import RESULTS

    if name and into is None:
        raise RunError("--name would do nothing without --into", way_out="name the document, too")
    text = markdown(sweep / RESULTS)
    place = name or str(json.loads((sweep / RESULTS).read_text(encoding="utf-8"))["name"])
    if into is not None:
        put(into, place, text)
    if json_:
        typer.echo(json.dumps({"name": place, "into": str(into or ""), "markdown": text}))
    else:
        typer.echo(f"{place}: {into}" if into else text)
