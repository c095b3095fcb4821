"""size: lines touched beyond what the reference change needed.

    score = min(1, (need + slack) / touched)      need, touched: lines added plus lines removed; slack: 2

All changed files count, those that grading refuses too. Gamed by: dense code, several statements a line (`style` sees
it), and changes that no line shows (very long lines). Without a reference change nothing is known to be too much: 1.
"""

from __future__ import annotations

from repodojo.core.records import Task
from repodojo.rewards.process.work import Work, touched_lines

SLACK = 2


async def score(work: Work) -> float:
    """1 where no more is touched than by the reference change and two lines."""
    need = needed(work.task)
    touched = sum(touched_lines(before, after) for before, after in work.touched.values())
    return 1.0 if need is None or touched == 0 else min(1.0, (need + SLACK) / touched)


def needed(task: Task) -> int | None:
    """Lines that the reference change adds and removes; None where the task has none."""
    if task.gold is None or not task.gold.patch:
        return None
    lines = task.gold.patch.splitlines()
    return sum(line.startswith(("+", "-")) and not line.startswith(("+++ ", "--- ")) for line in lines)
