"""Generalised advantage estimation over turns (GAE, arXiv 1506.02438; at turn ends as in VAGEN, arXiv 2510.16907)."""

from __future__ import annotations

from typing import Any

import numpy as np

from repodojo.algorithms.advantages.groups import Rewards, array, like, numbers, read
from repodojo.algorithms.advantages.turns import discounted, following


def gae(
    rewards: Rewards, group: Any, *, values: Any, gamma: float = 1.0, lam: float = 0.95, last_values: Any = None
) -> Rewards:
    """A_k = delta_k + gamma lam A_(k+1), delta_k = r_k + gamma V(s_(k+1)) - V(s_k), one a TURN.

    One row a turn, in the order of time: `rewards` what the turn was paid, `group` the trajectory it belongs to,
    `values` the critic's V of the state before it. After a trajectory's last turn V is 0 (it ended), or that row's
    entry of `last_values` where it was cut off. Discounting counts turns, not tokens: tool output in between costs
    nothing. Returns for the critic are A + V.

    All columns have one length B. ValueError for numbers that are not finite and for gamma or lam outside [0, 1].
    """
    turns = read(rewards, group)
    if not (0 <= gamma <= 1 and 0 <= lam <= 1):
        raise ValueError(f"gamma is {gamma} and lam {lam}, both must lie in [0, 1]")
    value_B = numbers(values, turns.values_B, "values")
    after = np.zeros_like(value_B) if last_values is None else numbers(last_values, turns.values_B, "last_values")
    next_B = following(turns.group_B)
    following_B = np.where(next_B >= 0, value_B[next_B], after)
    delta_B = turns.values_B + gamma * following_B - value_B
    return like(rewards, discounted(delta_B, next_B, gamma * lam))


def whiten(advantages: Rewards, *, eps: float = 1e-6) -> Rewards:
    """(A - mean) / (std + eps) over the whole batch, std the sample one, as PPO implementations do after GAE.

    Each turn counts once, however many tokens it has. A single turn and equal advantages get 0. Returns for a critic
    are those of the advantages before. ValueError for numbers that are not finite.
    """
    return like(advantages, read(advantages, np.zeros(len(advantages), np.intp)).normalised(eps))


def to_tokens(advantages: Any, turn: Any) -> Any:
    """A number a turn to a number a token: `turn` [N] is the row of each token's turn, -1 for tokens of nobody's turn.

    Observations and prompts (-1) get 0: nothing is trained there, and they stand between no two turns' estimates.
    ValueError for a row that does not exist.
    """
    values, turn_N = array(advantages).astype(np.float64), array(turn)
    if turn_N.size and (turn_N.min() < -1 or turn_N.max() >= len(values)):
        raise ValueError(f"turn must lie in -1..{len(values) - 1}")
    padded = np.append(values, 0.0)
    return like(advantages, padded[turn_N])
