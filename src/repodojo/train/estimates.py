"""Memory and time that a configuration would take, by stated formulas, if every episode fills its context."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from repodojo.core.errors import ConfigError
from repodojo.inference.architecture import Architecture

ROWS = 8192
"""Rows that the learner computes at a time (its default token budget)."""
USABLE = 0.9
"""Share of a device's memory that weights and caches may fill."""


@dataclass(frozen=True)
class Machine:
    """`count` devices, each with its peak FLOP/s in 16 bits, bytes/s of memory and bytes of memory.

    compute_share, bandwidth_share: of those peaks that training and decoding of large models usually reach; a guess
    for the named accelerators, 1 for a machine that was measured
    """

    name: str
    flops: float
    bandwidth: float
    memory: float
    count: int = 1
    compute_share: float = 0.4
    bandwidth_share: float = 0.6


ACCELERATORS = {
    # from the makers' data sheets (SXM, dense bf16)
    "a100": Machine("a100", 312e12, 2.04e12, 80e9),
    "h100": Machine("h100", 989e12, 3.35e12, 80e9),
    "h200": Machine("h200", 989e12, 4.8e12, 141e9),
}


def machine(name: str, count: int) -> Machine:
    """A named accelerator, or this machine ("local"), whose two rates are measured in about a second."""
    if count < 1:
        raise ConfigError(f"{count} accelerators", way_out="give 1 or more")
    if name == "local":
        return Machine("local", _matmul_rate(), _copy_rate(), _memory(), count, 1.0, 1.0)
    if name not in ACCELERATORS:
        raise ConfigError(f"no figures for accelerator '{name}'", way_out=f"use local, {', '.join(ACCELERATORS)}")
    return replace(ACCELERATORS[name], count=count)


@dataclass(frozen=True)
class Load:
    """What a step of RL asks for: episodes, tokens of each (sampled, and in all), how many run at once."""

    episodes: int
    sampled: int
    context: int
    at_once: int


def memory(a: Architecture, load: Load, *, rollout_bytes: int, copies: int, reference: bool) -> dict[str, float]:
    """Bytes by what they hold, over all devices.

    The learner keeps weights, gradients and AdamW's two moments in 32 bits (16 bytes a parameter); a row keeps about
    4 hidden + 2 heads * head_dim + 2 kv_heads * head_dim + 3 intermediate numbers a layer for the backward pass.
    """
    parameters = float(a.parameters())
    kept = 4 * a.hidden + 2 * (a.heads + a.kv_heads) * a.head_dim + 3 * a.intermediate
    rows = max(ROWS, load.context)  # an episode is never cut
    found = {
        "learner_weights": 4 * parameters,
        "learner_gradients": 4 * parameters,
        "learner_optimizer": 8 * parameters,
        "learner_activations": 1.0 * rows * a.layers * kept * rollout_bytes,
        "reference_weights": 4 * parameters if reference else 0.0,
        "rollout_weights": 1.0 * rollout_bytes * parameters * copies,
        "rollout_kv": 1.0 * kv_bytes(a, rollout_bytes) * load.at_once * load.context,
    }
    return found | {"total": sum(found.values())}


def kv_bytes(a: Architecture, number: int) -> int:
    """Of one token: keys and values of every layer."""
    return 2 * a.layers * a.kv_heads * a.head_dim * number


def seconds(a: Architecture, load: Load, m: Machine, *, number: int) -> dict[str, float]:
    """Of one step: prefill and decoding of its episodes, and learning from them. Tests and tools come on top.

    A token takes 2 FLOP a parameter and 2 * layers * heads * head_dim * context for attention (half the positions look
    back, on average) forward, three times that in training. An engine spans the devices that hold its weights with
    room for caches, runs as many sequences as fit there, and reads weights and half-full caches once a step.
    """
    compute = m.flops * m.count * m.compute_share
    matrices = a.parameters() - a.vocabulary * a.hidden
    attention = 2 * a.layers * a.heads * a.head_dim * load.context  # forward, mean over positions
    forward = 2 * matrices + attention
    tokens = float(load.episodes) * load.context
    per_engine = min(math.ceil(number * a.parameters() * 1.3 / m.memory), m.count)  # devices that hold one copy
    engines = max(m.count // per_engine, 1)
    cache = kv_bytes(a, number) * load.context / 2
    room = USABLE * m.memory * per_engine - number * a.parameters()
    width = max(min(load.at_once / engines, room / cache), 1 / engines)
    reading = (number * a.parameters() + width * cache) / (m.bandwidth * per_engine * m.bandwidth_share)
    computing = width * forward / (m.flops * per_engine * m.compute_share)
    decoded = float(load.episodes) * load.sampled
    found = {
        "prefill": (tokens - decoded) * forward / compute,
        "decode": decoded / (width * engines) * max(reading, computing),
        "learn": tokens * 3 * forward / compute,
    }
    return found | {"step": sum(found.values()), "episodes_at_once": width * engines}


def _matmul_rate() -> float:
    """FLOP/s of a 1024 x 1024 float32 product, the best of a few."""
    x = torch.randn(1024, 1024)
    best = min(_timed(lambda: x @ x) for _ in range(5))
    return 2 * 1024**3 / best


def _copy_rate() -> float:
    """Bytes/s read and written by a copy of 64 MiB, the best of a few."""
    x = torch.zeros(16 << 20)
    y = torch.empty_like(x)
    return 2 * 4 * float(x.numel()) / min(_timed(lambda: y.copy_(x)) for _ in range(5))


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _memory() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
