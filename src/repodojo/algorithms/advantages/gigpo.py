"""Group-in-group advantages: of the episode and of each step (GiGPO, arXiv 2505.10978)."""

from __future__ import annotations

from typing import Any

import numpy as np

from repodojo.algorithms.advantages.groups import Groups, Rewards, beside, like, number, read
from repodojo.algorithms.advantages.turns import discounted, following


def gigpo(
    rewards: Rewards,
    group: Any,
    *,
    trajectory: Any = None,
    state: Any = None,
    gamma: float = 0.95,
    episode_weight: float = 1.0,
    step_weight: float = 1.0,
    normalise: bool = True,
    eps: float = 1e-6,
) -> Rewards:
    """episode_weight * norm_group(episode return) + step_weight * norm_(group, state)(sum gamma^k r), one a STEP.

    One row a step, a trajectory's rows in the order of time: `rewards` what the step was paid, `trajectory` whose step
    it is, `state` a hash (integer or text) of what the agent saw before it. Steps of one group that were taken from the
    same state are compared with each other; a state that was met once adds 0. norm is (x - mean) / (std + eps), or
    x - mean where `normalise` is False; episodes count once each, however many steps they have. Without `trajectory`
    every row is an episode of one step from one common state.

    All columns have one length B. ValueError for rewards that are not finite, gamma outside [0, 1], a trajectory in two
    groups, and `trajectory` without `state`.
    """
    steps = read(rewards, group)
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma is {gamma}, it must lie in [0, 1]")
    if (trajectory is None) != (state is None):
        raise ValueError("trajectory and state need each other: steps are compared where their states are equal")
    rows = np.arange(len(steps.values_B))
    owner_B, size_T = number(rows if trajectory is None else beside(trajectory, steps.values_B, "trajectory"))
    state_B, _ = number(np.zeros_like(rows) if state is None else beside(state, steps.values_B, "state"))
    group_T = np.zeros(len(size_T), dtype=np.intp)
    group_T[owner_B] = steps.group_B
    if (group_T[owner_B] != steps.group_B).any():
        raise ValueError("a trajectory has steps in two groups")
    return_T = np.bincount(owner_B, weights=steps.values_B, minlength=len(size_T))
    togo_B = discounted(steps.values_B, following(owner_B), gamma)
    met_B = steps.group_B * (int(state_B.max(initial=0)) + 1) + state_B

    def norm(groups: Groups) -> Any:
        return groups.normalised(eps) if normalise else groups.deviations()

    episode_B = norm(read(return_T, group_T))[owner_B]
    return like(rewards, episode_weight * episode_B + step_weight * norm(read(togo_B, met_B)))
