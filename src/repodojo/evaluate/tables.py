"""Rows beside each other: for the terminal, for Markdown, and as results.json."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.table import Table

from repodojo.core.codec import from_json
from repodojo.core.errors import RunError
from repodojo.core.machine import described
from repodojo.evaluate.metrics import Interval
from repodojo.evaluate.summary import Difference, Row


def commands(row: Row) -> str:
    """`command_accuracy` by shell: "bash 93.1 (120)", in brackets how many were issued; a dash where none were."""
    found = [f"{shell} {rate(f.command_accuracy)} ({f.issued})" for shell, f in row.commands.items()]
    return ", ".join(found) or rate(None)


COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("policy", lambda r: r.name),
    ("pass@1", lambda r: rate(r.pass1, r.pass1_ci)),
    ("pass@8", lambda r: rate(r.pass8, r.pass8_ci)),
    ("tested first", lambda r: rate(r.tested_before_submit)),
    ("submits", lambda r: rate(r.submit_rate)),
    ("restored", lambda r: rate(r.restored)),
    ("tool errors", lambda r: rate(r.tool_error_rate)),
    ("format errors", lambda r: rate(r.format_error_rate)),
    ("commands", commands),
    ("turns", lambda r: f"{r.turns:.1f}"),
    ("tokens", lambda r: f"{r.tokens:.0f}"),
    ("episodes", lambda r: f"{r.episodes}" + (f" (+{r.outages} outages)" if r.outages else "")),
)

NARROW = ("policy", "pass@1", "pass@8", "tested first")


def rate(value: float | None, interval: Interval | None = None) -> str:
    """A share as a percentage: "20.9 [15.5, 26.3]"; a dash where it is unknown."""
    if value is None:
        return "–"  # noqa: RUF001
    text = f"{100 * value:.1f}"
    return text if interval is None else f"{text} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def rich_table(rows: Sequence[Row], *, title: str = "", width: int = 160) -> Table:
    """For a terminal of `width` characters; a narrow one gets the columns that matter most, none squeezed away."""
    cells = {name: [cell(row) for row in rows] for name, cell in COLUMNS}
    narrow = [NARROW[:count] for count in range(len(NARROW), 1, -1)]
    fits = (names for names in (tuple(cells), *narrow) if _width([(name, *cells[name]) for name in names]) <= width)
    names = next(fits, NARROW[:2])
    table = Table(title=title or None, title_justify="left")
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in zip(*(cells[name] for name in names), strict=True):
        table.add_row(*row)
    return table


def _width(columns: Sequence[Sequence[str]]) -> int:
    """Characters of a table with these cells: two blanks and a rule a column, and one rule more."""
    return sum(max(map(cell_len, column)) + 3 for column in columns) + 1


def markdown_table(rows: Sequence[Row]) -> str:
    """For README and docs; rates in percent, 95% intervals in brackets."""
    lines = ["| " + " | ".join(name for name, _ in COLUMNS) + " |", "|---" + "|---:" * (len(COLUMNS) - 1) + "|"]
    lines += ["| " + " | ".join(cell(row).replace("|", "\\|") for _, cell in COLUMNS) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def kinds_table(rows: Sequence[Row]) -> str:
    """Markdown: pass@1 by kind of bug, a column a policy, tasks of that kind in brackets."""
    kinds = sorted({kind for row in rows for kind in row.by_kind})
    lines = ["| kind | " + " | ".join(row.name for row in rows) + " |", "|---" + "|---:" * len(rows) + "|"]
    for kind in kinds:
        n = max(row.by_kind[kind].n for row in rows if kind in row.by_kind)
        cells = [rate(row.by_kind[kind].pass1) if kind in row.by_kind else rate(None) for row in rows]
        lines.append(f"| {kind} ({n}) | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_results(
    path: Path,
    rows: Mapping[str, Row],
    *,
    seed: int,
    command: str,
    differences: Sequence[Difference] = (),
    extra: Mapping[str, Any] | None = None,
) -> None:
    """results.json, replaced whole: {"rows": {"base": {...}, ...}, "differences", "machine", "seed", "command"}."""
    document = {
        "rows": {key: plain(row) for key, row in rows.items()},
        "differences": [asdict(difference) for difference in differences],
        "machine": described(),
        "seed": seed,
        "command": command,
        **(extra or {}),
    }
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{path}: {error.strerror}", way_out="name a folder that can be written") from None


def plain(row: Row) -> dict[str, Any]:
    """A row as JSON; without `calibration` where nobody stated a probability."""
    return {name: value for name, value in asdict(row).items() if name != "calibration" or value}


def read_rows(path: Path) -> dict[str, Row]:
    """The rows of a results.json; RunError where it is unreadable, TaskError names a field that is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = document["rows"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path} holds no results: {error}", way_out="measure again with `repodojo eval`") from None
    return {key: from_json(Row, json.dumps(row), where=f"{path}: {key}") for key, row in rows.items()}
