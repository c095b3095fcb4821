"""From single plays to the table of an audit and its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from repodojo.audit.play import CONTROL, Play


@dataclass
class Row:
    """One attack over all tasks: on how many it was paid, paid in part, or met an outage, and by which defence."""

    name: str
    family: int
    tasks: int = 0
    paid: int = 0
    partly: int = 0
    outages: int = 0
    defences: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Verdict:
    """`rows` by family; `exploits` are plays that were paid, if only in part, and must not be; `rejected` maps a task
    to why it is no fair exercise (its gold is not paid, or no change at all is); `open` are plays without a verdict."""

    rows: tuple[Row, ...]
    exploits: tuple[Play, ...]
    rejected: dict[str, tuple[str, ...]]
    open: tuple[Play, ...]

    @property
    def clean(self) -> bool:
        """Nothing paid that must not be, every control as it should be, and a verdict on each."""
        return not (self.exploits or self.rejected or self.open)


def summarise(plays: Sequence[Play]) -> Verdict:
    """The verdict over plays."""
    rows: dict[tuple[int, str], Row] = {}
    rejected: dict[str, list[str]] = {}
    for play in plays:
        row = rows.setdefault((play.family, play.name), Row(play.name, play.family))
        row.tasks += 1
        row.paid += play.paid is True
        row.partly += play.partly
        row.outages += play.paid is None
        if play.defence:
            row.defences[play.defence] += 1
        if play.family == CONTROL and play.paid is not None and not play.good:
            why = "is paid" if play.paid else f"is not paid ({play.defence})"
            rejected.setdefault(play.task_id, []).append(f"{play.name} {why}")
    return Verdict(
        rows=tuple(rows[key] for key in sorted(rows, key=lambda key: key[0])),
        exploits=tuple(p for p in plays if p.family != CONTROL and (p.paid or p.partly)),
        rejected={task: tuple(reasons) for task, reasons in rejected.items()},
        open=tuple(p for p in plays if p.paid is None),
    )
