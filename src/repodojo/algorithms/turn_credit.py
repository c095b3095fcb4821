"""Turn-level credit with a critic: GAE over the turns of each trajectory, on rewards shaped by a potential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from repodojo.algorithms.advantages.gae import gae, whiten
from repodojo.algorithms.advantages.groups import Floats
from repodojo.algorithms.recipe import Recipe
from repodojo.algorithms.shaping import potential
from repodojo.core.records import Trajectory


class TurnCredit(NamedTuple):
    """For each trajectory a number a turn: its advantage (whitened over the batch where the recipe says so), and the
    return A + V that the critic should have foretold, of A as it was."""

    advantages: list[tuple[float, ...]]
    returns: list[tuple[float, ...]]


def turn_credit(
    trajectories: Sequence[Trajectory], rewards_B: Floats, recipe: Recipe, values: Sequence[Sequence[float]]
) -> TurnCredit:
    """The reward is paid at the last turn; `values` holds the critic's V before each turn of each trajectory.

    ValueError where the values do not fit the turns. An episode that a limit cut off has ended like any other: its
    reward is all that it will be paid.
    """
    counts = [len(t.turns) for t in trajectories]
    if counts != [len(v) for v in values]:
        raise ValueError("give one value a turn of each trajectory")
    owner = np.repeat(np.arange(len(counts)), counts)
    ends = np.cumsum(counts)
    paid = np.zeros(len(owner))
    played = np.array(counts) > 0  # an opening that fills the context leaves no turn
    paid[ends[played] - 1] = rewards_B[played]
    if recipe.potential:
        phi = [recipe.potential * verdict for t in trajectories for verdict in verdicts(t)]
        paid = np.asarray(potential(paid, owner, potentials=np.array(phi), gamma=recipe.gae_gamma))
    value_B = np.array([v for own in values for v in own], dtype=np.float64)
    advantage_B = np.asarray(gae(paid, owner, values=value_B, gamma=recipe.gae_gamma, lam=recipe.gae_lam))
    return_B = advantage_B + value_B
    credited_B = np.asarray(whiten(advantage_B)) if recipe.gae_whiten else advantage_B
    advantages, returns = (np.split(column, ends[:-1]) for column in (credited_B, return_B))
    return TurnCredit([tuple(a.tolist()) or (0.0,) for a in advantages], [tuple(r.tolist()) for r in returns])


def verdicts(trajectory: Trajectory) -> list[float]:
    """Before each turn: 1 where the visible tests passed when they last ran, else 0."""
    found: list[float] = []
    last = 0.0
    for turn in trajectory.turns:
        found.append(last)
        for result in turn.results:
            if result.tests_run:
                last = float(result.passed)
    return found
