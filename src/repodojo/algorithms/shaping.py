"""What is added to a reward: penalties for length, and potentials, which never change which policy is best."""

from __future__ import annotations

from typing import Any

import numpy as np

from repodojo.algorithms.advantages.groups import Floats, Rewards, array, like, numbers, read
from repodojo.algorithms.advantages.turns import following


def turn_penalty(turns: Any, *, threshold: int, limit: int) -> Floats:
    """R_len of Golubev et al. (arXiv 2508.03501): (threshold - turns) / (limit - threshold) from `threshold` turns on.

    0 before that, -1 at the limit of turns, [B]. ValueError unless 0 <= threshold < limit.
    """
    if not 0 <= threshold < limit:
        raise ValueError(f"threshold {threshold} must lie in 0..{limit - 1}, below the limit of turns")
    turns_B = array(turns).astype(np.float64)
    return np.where(turns_B < threshold, 0.0, (threshold - turns_B) / (limit - threshold))


def overlong_penalty(lengths: Any, *, limit: int, cache: int) -> Floats:
    """DAPO's soft overlong punishment (arXiv 2503.14476), [B], lengths in tokens.

    0 up to limit - cache, then ((limit - cache) - length) / cache, and -1 beyond the limit. ValueError unless
    0 < cache <= limit.
    """
    if not 0 < cache <= limit:
        raise ValueError(f"cache {cache} must lie in 1..{limit}, the limit of tokens")
    return np.clip((limit - cache - array(lengths).astype(np.float64)) / cache, -1.0, 0.0)


def potential(rewards: Rewards, group: Any, *, potentials: Any, gamma: float = 1.0) -> Rewards:
    """r_k + gamma Phi(s_(k+1)) - Phi(s_k), one a turn (Ng, Harada and Russell 1999).

    One row a turn in the order of time; `group` is the trajectory of each, `potentials` Phi of the state before it, for
    instance the share of tests that pass there. After the last turn Phi is 0, so a discounted return changes by
    -Phi(s_0) whatever the policy does: the best policy stays the best, and progress is paid when it is made.

    ValueError for numbers that are not finite, columns of different lengths and gamma outside [0, 1].
    """
    turns = read(rewards, group)
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma is {gamma}, it must lie in [0, 1]")
    phi_B = numbers(potentials, turns.values_B, "potentials")
    next_B = following(turns.group_B)
    after_B = np.where(next_B >= 0, phi_B[next_B], 0.0)
    return like(rewards, turns.values_B + gamma * after_B - phi_B)
