"""A plan as tables: what `repodojo train --dry-run` prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from repodojo.train.plan import Line, Plan


def show(plan: Plan) -> None:
    """Each section as a table, warnings last."""
    console = Console()
    for title, lines in plan.sections.items():
        table = Table("what", "value", "how it comes about", title=title, title_justify="left")
        for name, line in lines.items():
            table.add_row(name, readable(line), line.how)
        console.print(table)
    for text in plan.warnings:
        console.print(f"[yellow]warning:[/yellow] {text}", highlight=False)


def readable(line: Line) -> str:
    """A value in the unit that suits its size.

    >>> readable(Line(32.8e9, "bytes")), readable(Line(5400, "seconds")), readable(Line(9000))
    ('30.5 GiB', '1.5 h', '9,000')
    """
    value = line.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if line.unit == "bytes":
        return _scaled(value, ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (1024, "KiB"), (1, "bytes")))
    if line.unit == "seconds":
        return _scaled(value, ((86400, "days"), (3600, "h"), (60, "min"), (1, "s"), (0.001, "ms")))
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    return f"{text} {line.unit}".rstrip()


def _scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    factor, unit = next(((f, u) for f, u in units if value >= f), units[-1])
    return f"{value / factor:.1f} {unit}"
