"""Verdicts kept by task and admissible changes.

Sound because validation drops what flickers: the same files give the same verdict. Only scores are kept; an outage is
not, so that the next submission tries again.
"""

from __future__ import annotations

from repodojo.core.records import Score
from repodojo.core.remembered import Remembered

VerdictCache = Remembered[tuple[str, str], Score]
"""By a task's id and the fingerprint of the changes."""


def is_verdict(score: Score) -> bool:
    """Whether a score says anything of the changes: an outage does not."""
    return score.value is not None
