"""Rewards replaced by chance, a stated share of them: the outliers that a robust advantage is measured against."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from repodojo.core.records import Group, Trajectory
from repodojo.rollout.orders import seed_of

LOW, HIGH = -1.0, 2.0
"""Bounds of an outlier, uniform between them; clean rewards lie in 0..1, a process score's bonus apart."""


def with_outliers(groups: Sequence[Group], share: float, seed: int) -> list[Group]:
    """The groups with `share` of their rewards replaced, by each episode's id and the seed alone.

    Outcomes stay what they were, so filters and rates see the truth; the clean value stays in `parts["clean"]`.
    """
    if not share:
        return list(groups)
    return [replace(group, trajectories=tuple(_noisy(t, share, seed) for t in group.trajectories)) for group in groups]


def _noisy(trajectory: Trajectory, share: float, seed: int) -> Trajectory:
    rng = random.Random(seed_of(seed, "outlier", trajectory.id))
    score = trajectory.score
    if score.value is None or rng.random() >= share:
        return trajectory
    parts = {**score.parts, "solved": float(score.solved), "clean": score.value}
    return replace(trajectory, score=replace(score, value=rng.uniform(LOW, HIGH), parts=parts))
