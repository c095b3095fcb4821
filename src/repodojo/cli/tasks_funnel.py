"""What became of the commits of a repository, as a table: shared by the makers that walk its history."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def report(title: str, source: str, stages: Sequence[str], funnel: Counter[str], as_json: bool) -> None:
    """The stages in their order, then why each commit was lost, most common first."""
    if as_json:
        print(json.dumps({"source": source, "funnel": dict(funnel)}))
        return
    table = Table(title, source, show_header=True)
    for name in stages:
        table.add_row(name, str(funnel[name]))
    for name, count in sorted(funnel.items(), key=lambda item: -item[1]):
        if name not in stages and count:
            table.add_row(f"  {name}", str(count))
    Console().print(table)
