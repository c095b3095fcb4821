"""From what became of sessions to numbers that a run can use. docs/feedback.md gives the reasons.

base       kept 1, accepted 0.8, edited 0.5, rejected 0, reverted 0
score      0 where base is 0, else base, and (base + retention) / 2 where retention is known (longest interval)
weight     1 + STRENGTH * sum of (1 - score) / (sessions + PRIOR), of a task
pair       the best and the worst session of a task whose scores differ by MARGIN or more and whose texts differ
"""

from __future__ import annotations

from collections.abc import Mapping

BASE = {"kept": 1.0, "accepted": 0.8, "edited": 0.5, "rejected": 0.0, "reverted": 0.0}
STRENGTH, PRIOR, MARGIN = 2.0, 4.0, 0.3


def score(outcome: str, retention: Mapping[int, float]) -> float:
    """How well a session's work did, in [0, 1].

    >>> score("kept", {7: 1.0, 30: 0.5}), score("accepted", {}), score("reverted", {7: 1.0})
    (0.75, 0.8, 0.0)
    """
    base = BASE[outcome]
    return (base + retention[max(retention)]) / 2 if retention and base else base


def weight(sessions: int, lost: float) -> float:
    """How often a task is drawn, relative to one that nothing is known of (1).

    `lost` sums 1 - score. Tasks that users were content with stay near 1, those that went wrong come up to
    1 + STRENGTH; PRIOR sessions without loss are assumed, so that one bad session alone changes little.
    """
    return 1.0 + STRENGTH * lost / (sessions + PRIOR)
