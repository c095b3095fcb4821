"""Ragged groups of rewards: checked, in float64, and given back as what came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

Rewards = TypeVar("Rewards", Sequence[float], NDArray[Any], torch.Tensor)
"""A list, an array or a tensor; an advantage function answers with the same kind."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Groups:
    """B rewards in K groups.

    centred_B: rewards less the lowest of their group, so that equal rewards are exactly 0 and a shift changes nothing
    group_B: group of each, as 0..K-1;  size_K: members of each group
    """

    centred_B: Floats
    group_B: NDArray[np.intp]
    size_K: NDArray[np.intp]

    def sum(self, values_B: Floats) -> Floats:
        """Sum by group, [K]."""
        return np.bincount(self.group_B, weights=values_B, minlength=len(self.size_K)).astype(np.float64)

    def deviations(self) -> Floats:
        """Reward less the mean of its group, [B]."""
        return self.centred_B - (self.sum(self.centred_B) / self.size_K)[self.group_B]


def read(rewards: Rewards, group: Any) -> Groups:
    """Check and sort out the input; ValueError for a NaN, an infinity, or lengths and types that do not fit."""
    values = _array(rewards).astype(np.float64)
    index = _array(group)
    if values.ndim != 1 or values.shape != index.shape:
        raise ValueError(f"rewards {values.shape} and group {index.shape} must be two lists of one length")
    if values.size and not np.issubdtype(index.dtype, np.integer):
        raise ValueError(f"group must hold integers, not {index.dtype}")
    if not np.isfinite(values).all():
        where = np.flatnonzero(~np.isfinite(values)).tolist()
        raise ValueError(f"rewards at {where[:5]} are not finite: leave trajectories without a score out")
    _, dense, size = np.unique(index, return_inverse=True, return_counts=True)
    lowest = np.full(len(size), np.inf)
    np.minimum.at(lowest, dense, values)
    return Groups(values - lowest[dense], dense, size)


def like(rewards: Rewards, advantages: Floats) -> Rewards:
    """`advantages` as the kind that `rewards` is: list, float array, or tensor of the same dtype and device."""
    if isinstance(rewards, torch.Tensor):
        dtype = rewards.dtype if rewards.dtype.is_floating_point else torch.float32
        return torch.as_tensor(advantages, dtype=dtype, device=rewards.device)
    if isinstance(rewards, np.ndarray):
        return advantages.astype(rewards.dtype) if np.issubdtype(rewards.dtype, np.floating) else advantages
    return cast(Rewards, advantages.tolist())


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
