"""Advantages of a large batch: all groups at once against a loop over groups.

65,536 rewards in groups of 8 in mixed order, GRPO's (reward - mean) / std. Ours: `algorithms.advantages.grpo`. Theirs:
what most trainers do: rewards gathered by group in a dictionary of lists, a tensor's mean and std for each, then one
division a sample. The two results are checked to be equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from repodojo.algorithms.advantages import grpo
from repodojo.cli.benches._common import compare, one_thread


def run(quick: bool) -> dict[str, Any]:
    """See the module; `quick` is 1,024 rewards."""
    count = 1024 if quick else 65_536
    drawn = np.random.default_rng(0)
    rewards, groups = drawn.random(count), drawn.permutation(count) // 8
    with one_thread():
        np.testing.assert_allclose(grpo(rewards, groups), _loop(rewards.tolist(), groups.tolist()), atol=1e-6)
        found = compare(
            lambda: [grpo(rewards, groups) for _ in range(20)],
            lambda: [_loop(rewards.tolist(), groups.tolist()) for _ in range(20 if quick else 1)],
            3,
        )
    if not quick:  # one call against twenty
        for key in ("ratio", "ratio_low", "ratio_high", "theirs_cpu_seconds"):
            found[key] *= 20
    return {**found, "trajectories": count}


def _loop(rewards: Sequence[float], groups: Sequence[int]) -> list[float]:
    """The plain way."""
    by_group: dict[int, list[torch.Tensor]] = defaultdict(list)
    for reward, group in zip(rewards, groups, strict=True):
        by_group[group].append(torch.tensor(reward, dtype=torch.float64))
    figures = {group: (torch.stack(found).mean(), torch.stack(found).std()) for group, found in by_group.items()}
    return [
        float((reward - figures[group][0]) / (figures[group][1] + 1e-6))
        for reward, group in zip(rewards, groups, strict=True)
    ]
