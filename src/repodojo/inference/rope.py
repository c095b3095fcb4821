"""Rotary position tables, plain and YaRN (arXiv 2309.00071, as transformers computes it)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from repodojo.core.errors import CheckpointError
from repodojo.inference.architecture import Architecture


def tables(architecture: Architecture, length: int) -> tuple[Tensor, Tensor]:
    """cos and sin, each [length, head_dim] float32; sin carries the sign that `rotate` needs."""
    inverse, scale = _frequencies(architecture)
    angle = torch.outer(torch.arange(length, dtype=torch.float32), inverse)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def stretched(architecture: Architecture, factor: float) -> Architecture:
    """The same model with YaRN of this factor: `factor` times as many positions as it was trained with."""
    scaling = architecture.rope_scaling
    original = int(scaling.get("original_max_position_embeddings") or architecture.max_positions)
    yarn = {"rope_type": "yarn", "factor": float(factor), "original_max_position_embeddings": original}
    return replace(architecture, rope_scaling=yarn, max_positions=int(original * factor))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x [N, heads, D] by the tables' rows cos, sin [N, 1, D]."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


def _frequencies(architecture: Architecture) -> tuple[Tensor, float]:
    dim, base, scaling = architecture.head_dim, architecture.rope_theta, architecture.rope_scaling
    inverse = 1.0 / base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    kind = scaling.get("rope_type", scaling.get("type")) if scaling else None
    if kind is None:
        return inverse, 1.0
    if kind != "yarn":
        raise CheckpointError(f"rope scaling '{kind}' is not supported", way_out="use plain rotary positions or YaRN")
    factor = float(scaling["factor"])
    original = int(scaling.get("original_max_position_embeddings") or architecture.max_positions)

    def dimension_of(turns: float) -> float:
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(dimension_of(float(scaling.get("beta_fast") or 32))), 0)
    high = min(math.ceil(dimension_of(float(scaling.get("beta_slow") or 1))), dim - 1)
    ramp = ((torch.arange(dim // 2, dtype=torch.float32) - low) / max(high - low, 0.001)).clamp(0, 1)
    attention = scaling.get("attention_factor")
    scale = float(attention) if attention is not None else 0.1 * math.log(factor) + 1.0
    return inverse / factor * ramp + inverse * (1 - ramp), scale
