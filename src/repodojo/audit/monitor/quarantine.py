"""Withholding a reward, and giving it back: the score is None with a typed reason, and remembers what it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from repodojo.audit.monitor.signs import Sign
from repodojo.core.records import QUARANTINED, Score, Trajectory

LABEL = "monitor"
WITHHELD = "withheld"


def noted(trajectory: Trajectory, signs: Sequence[Sign]) -> Trajectory:
    """The trajectory with these signs in its labels, after those that are there already."""
    if not signs:
        return trajectory
    known = [*signs_of(trajectory), *signs]
    text = json.dumps([[sign.name, sign.evidence] for sign in dict.fromkeys(known)])
    return replace(trajectory, labels={**trajectory.labels, LABEL: text})


def quarantined(trajectory: Trajectory, signs: Sequence[Sign]) -> Trajectory:
    """The trajectory with the signs noted and its score withheld. An outage stays what it is."""
    marked = noted(trajectory, signs)
    score = trajectory.score
    if score.value is None and not score.quarantined:
        return marked
    names = ", ".join(dict.fromkeys(sign.name for sign in signs_of(marked)))
    value = value_of(trajectory)
    parts = {**score.parts, WITHHELD: value} if value is not None else score.parts
    return replace(marked, score=replace(score, value=None, error=f"{QUARANTINED}: {names}", parts=parts))


def released(trajectory: Trajectory) -> Trajectory:
    """The trajectory with the score that it had; any other as it is."""
    score = trajectory.score
    if not score.quarantined:
        return trajectory
    parts = {name: value for name, value in score.parts.items() if name != WITHHELD}
    return replace(trajectory, score=Score(value_of(trajectory), "", parts, score.passed, score.failed, score.seconds))


def value_of(trajectory: Trajectory) -> float | None:
    """The reward, withheld or not; None after an outage."""
    score = trajectory.score
    return score.parts.get(WITHHELD) if score.quarantined else score.value


def signs_of(trajectory: Trajectory) -> list[Sign]:
    """The signs that were noted."""
    return [Sign(name, evidence) for name, evidence in json.loads(trajectory.labels.get(LABEL, "[]"))]
