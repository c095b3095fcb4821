"""`repodojo report RUN`: one HTML file that shows a run, and the picture of its curve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write; default RUN/report.html.")] = None,
    curve: Annotated[
        Path | None, typer.Option("--curve", help="Write the learning curve too, as .svg or .png.")
    ] = None,
) -> None:
    """Write one HTML file that shows a run; it needs nothing else and can be sent to anyone."""
    from repodojo.core.errors import UserError
    from repodojo.dashboard.report import curve_png, curve_svg, write_report

    if curve is not None and curve.suffix not in (".svg", ".png"):
        raise UserError(f"{curve} is neither .svg nor .png", way_out="name the picture with one of these endings")
    typer.echo(write_report(run, out))
    if curve is not None:
        typer.echo((curve_svg if curve.suffix == ".svg" else curve_png)(run, curve))
