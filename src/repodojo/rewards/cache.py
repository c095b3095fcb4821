"""Verdicts kept by task and admissible changes.

Sound because validation drops what flickers: the same files give the same verdict. Only scores are kept; an outage is
not, so that the next submission tries again.
"""

from __future__ import annotations

from repodojo.core.recent import Recent
from repodojo.core.records import Score


class VerdictCache:
    """The last `size` verdicts, and how often one was found. size=0 switches it off."""

    def __init__(self, size: int = 100_000) -> None:
        self.hits = 0
        self.misses = 0
        self._kept: Recent[tuple[str, str], Score] = Recent(size)

    def get(self, task_id: str, changes: str) -> Score | None:
        """The verdict on these changes of this task, if it is known."""
        score = self._kept.get((task_id, changes))
        if score is None:
            self.misses += 1
            return None
        self.hits += 1
        return score

    def put(self, task_id: str, changes: str, score: Score) -> None:
        """Keep a verdict; a score without a value is not one."""
        if score.value is not None:
            self._kept[task_id, changes] = score
