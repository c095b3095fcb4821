"""The episodes that the monitor found suspicious: what gave them away, and what became of their reward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from repodojo.dashboard.html import Markup, join, table, tag
from repodojo.train.guard import Entry

MOST = 50


def section(entries: Sequence[Entry]) -> Markup:
    """Counts by sign, then the newest MOST; empty where nothing was suspicious."""
    if not entries:
        return Markup("")
    counts = Counter(name for entry in entries for name in {sign.name for sign in entry.signs})
    said = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    shown = entries[-MOST:][::-1]
    note = f"{len(entries):,} suspicious episodes by sign: {said}. A withheld reward enters no baseline. "
    note += f"Shown: the last {len(shown)}. Release one with `repodojo monitor RUN --release ID`."
    head = ["episode", "task", "when", "reward", "state", "signs"]
    rows = tag("div", table(head, [_row(entry) for entry in shown], class_="told"), class_="card")
    return join(tag("h2", "Quarantine"), tag("p", note, class_="soft"), rows)


def _row(entry: Entry) -> list[str]:
    state = "released" if entry.released else "withheld" if entry.withheld else "reported"
    reward = "none" if entry.reward is None else f"{entry.reward:g}"
    return [entry.id, entry.task_id, f"{entry.stage} {entry.step}", reward, state, "; ".join(entry.told())]
