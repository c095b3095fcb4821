"""The least that a machine could take: operations and bytes counted, over the rates that it was measured to reach.

Counted are matrix products of blocks and vocabulary, attention over the pairs that a causal mask with shared prefixes
leaves, and in decoding the keys, values and weights that a step has to read; nothing else (no norms, no sampling, no
Python). On one thread computing and reading follow each other, so the two times are added.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from repodojo.inference.architecture import Architecture

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Work:
    """rows: tokens through the blocks;  scored: rows of the vocabulary projection;  pairs: of query and key;
    kept_tokens: tokens whose keys and values are read, summed over decoding steps;  steps: decoding steps, each of
    which reads the weights;  trained: backward too, at twice the operations of forward.
    """

    rows: int
    scored: int
    pairs: int
    kept_tokens: int = 0
    steps: int = 0
    trained: bool = False

    def __add__(self, other: Work) -> Work:
        more = (self.rows + other.rows, self.scored + other.scored, self.pairs + other.pairs)
        read = (self.kept_tokens + other.kept_tokens, self.steps + other.steps)
        return Work(*more, *read, self.trained or other.trained)

    def operations(self, a: Architecture) -> float:
        """Floating-point operations."""
        matrices = a.parameters() - a.vocabulary * a.hidden * (1 if a.tied else 2)
        forward = 2.0 * matrices * self.rows + 2.0 * a.vocabulary * a.hidden * self.scored
        forward += 4.0 * a.layers * a.heads * a.head_dim * self.pairs
        return forward * (3 if self.trained else 1)

    def bytes(self, a: Architecture) -> float:
        """Read from memory while decoding."""
        kept = 2.0 * a.layers * a.kv_heads * a.head_dim * FLOAT * self.kept_tokens
        return kept + float(FLOAT) * a.parameters() * self.steps


def prefill(shared: int, count: int, own: int) -> Work:
    """`count` sequences of `own` tokens after `shared` tokens (computed once), every one with all before it."""
    pairs = causal(0, shared) + count * causal(shared, own)
    return Work(shared + count * own, 0, pairs)


def decode(shared: int, count: int, own: int, new: int) -> Work:
    """`new` tokens each, behind `shared` tokens that a group of `count` reads once and `own` of each.

    Prefill gives the first of them, and the last is sampled and not computed: new - 1 steps.
    """
    steps = new - 1
    mine = steps * own + sum(range(1, new))
    return Work(count * steps, count * new, count * (steps * shared + mine), steps * shared + count * mine, steps)


def causal(before: int, count: int) -> int:
    """Pairs of `count` queries in a row, each with itself, those earlier in the row, and `before` keys."""
    return count * before + count * (count + 1) // 2


def against(a: Architecture, work: Work, cpu_seconds: float) -> dict[str, Any]:
    """The floor in CPU seconds on this machine, and how much of what was measured it explains (1: nothing is lost)."""
    operations, reading = rates()
    floor = work.operations(a) / operations + work.bytes(a) / reading
    return {
        "floor_cpu_seconds": floor,
        "floor_share": floor / cpu_seconds,
        "floor_gflop": work.operations(a) / 1e9,
        "floor_gbyte": work.bytes(a) / 1e9,
        "measured_gflops": operations / 1e9,
        "measured_gbytes": reading / 1e9,
    }


def rates() -> tuple[float, float]:
    """Operations a second of a 1024 x 1024 float32 product, bytes a second of a sum over 256 MiB; the best of five."""
    x, long = torch.randn(1024, 1024), torch.ones(64 << 20)
    return 2 * 1024**3 / _best(lambda: x @ x), FLOAT * long.numel() / _best(long.sum)


def _best(run: Callable[[], object]) -> float:
    found = []
    for _ in range(5):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return min(found)
