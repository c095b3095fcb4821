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

    values_B: the rewards
    centred_B: rewards less the lowest of their group, so that equal rewards are exactly 0 and a shift changes nothing
    group_B: group of each, as 0..K-1;  size_K: members of each group
    """

    values_B: Floats
    centred_B: Floats
    group_B: NDArray[np.intp]
    size_K: NDArray[np.intp]

    def sum(self, values_B: Floats) -> Floats:
        """Sum by group, [K]."""
        return np.bincount(self.group_B, weights=values_B, minlength=len(self.size_K)).astype(np.float64)

    def deviations(self) -> Floats:
        """Reward less the mean of its group, [B]."""
        return self.centred_B - (self.sum(self.centred_B) / self.size_K)[self.group_B]

    def spread(self, deviation_B: Floats) -> Floats:
        """Root of the sum of squared deviations over n - 1, [K]; 0 for a singleton."""
        return np.sqrt(self.sum(deviation_B**2) / np.maximum(self.size_K - 1, 1))

    def normalised(self, eps: float) -> Floats:
        """(r - mean) / (std + eps) within each group, [B]; std is the sample one."""
        deviation_B = self.deviations()
        return deviation_B / (self.spread(deviation_B) + eps)[self.group_B]

    def order(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Indices [B] that sort by group and then by reward, and where each group starts among them [K]."""
        return np.lexsort((self.values_B, self.group_B)), np.cumsum(self.size_K) - self.size_K


def read(rewards: Rewards, group: Any) -> Groups:
    """Check and sort out the input; ValueError for a NaN, an infinity, or lengths and types that do not fit."""
    values = array(rewards).astype(np.float64)
    index = array(group)
    if values.ndim != 1 or values.shape != index.shape:
        raise ValueError(f"rewards {values.shape} and group {index.shape} must be two lists of one length")
    if values.size and not np.issubdtype(index.dtype, np.integer):
        raise ValueError(f"group must hold integers, not {index.dtype}")
    if not np.isfinite(values).all():
        where = np.flatnonzero(~np.isfinite(values)).tolist()
        raise ValueError(f"rewards at {where[:5]} are not finite: leave trajectories without a score out")
    dense, size = number(index)
    lowest = np.full(len(size), np.inf)
    np.minimum.at(lowest, dense, values)
    return Groups(values, values - lowest[dense], dense, size)


def number(index: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Labels [B] as 0..K-1 in sorted order, and the members of each [K]. Labels that stand in order need no sorting."""
    if index.size and np.issubdtype(index.dtype, np.integer):
        change = np.diff(index)
        if (change >= 0).all():
            dense = np.concatenate(([0], np.cumsum(change > 0)))
            return dense, np.bincount(dense)
    _, dense, size = np.unique(index, return_inverse=True, return_counts=True)
    return dense, size


def beside(values: Any, rewards: Floats, name: str) -> NDArray[Any]:
    """A further column [B] of whatever type; ValueError where its length is not that of the rewards."""
    column = array(values)
    if column.shape != rewards.shape:
        raise ValueError(f"{name} {column.shape} and rewards {rewards.shape} must be two lists of one length")
    return column


def numbers(values: Any, rewards: Floats, name: str) -> Floats:
    """A further column [B] of finite numbers; ValueError for others."""
    column = beside(values, rewards, name).astype(np.float64)
    if not np.isfinite(column).all():
        raise ValueError(f"{name} at {np.flatnonzero(~np.isfinite(column))[:5].tolist()} are not finite")
    return column


def like(rewards: Rewards, advantages: Floats) -> Rewards:
    """`advantages` as the kind that `rewards` is: list, float array, or tensor of the same dtype and device."""
    if isinstance(rewards, torch.Tensor):
        dtype = rewards.dtype if rewards.dtype.is_floating_point else torch.float32
        return torch.as_tensor(advantages, dtype=dtype, device=rewards.device)
    if isinstance(rewards, np.ndarray):
        return advantages.astype(rewards.dtype) if np.issubdtype(rewards.dtype, np.floating) else advantages
    return cast(Rewards, advantages.tolist())


def array(values: Any) -> NDArray[Any]:
    """Lists, arrays and tensors as an array."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
