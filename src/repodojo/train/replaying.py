"""The trajectory cache of RL: samples of earlier steps, drawn again by priority beside the fresh ones.

What was drawn more often than its share counts less, by 1 / (N P), and a sample's probability ratio is still taken to
the policy that sampled it; so the expected gradient stays what it was. With equal priorities and nothing kept beyond
its own step every fresh sample comes once, in order, with weight exactly 1: replay then changes no bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from repodojo.algorithms.replay import chances, draw
from repodojo.core.records import Batch, Sample
from repodojo.rollout.orders import seed_of
from repodojo.train.sections import Replay

Kept = tuple[int, Sample]
"""A sample, and the version of the policy that it was sampled for."""


class Cache:
    """The newest `capacity` samples, oldest first."""

    def __init__(self, settings: Replay, seed: int, kept: Sequence[Any] = ()) -> None:
        self._settings, self._seed = settings, seed
        self._kept: list[Kept] = [(int(version), _sample(fields)) for version, fields in kept]
        self.figures: dict[str, float] = {}

    def mix(self, batch: Batch, step: int) -> Batch:
        """As many samples as `batch` holds, drawn from its own and the kept ones by priority; then keep its own."""
        s = self._settings
        fresh = [(batch.version, sample) for sample in batch.samples]
        pool = [*fresh, *((v, sample) for v, sample in self._kept if batch.version - v <= s.oldest)]
        if not fresh:
            return batch
        age_N = np.array([batch.version - version for version, _ in pool])
        signal_N = np.array([signal_of(sample) for _, sample in pool])
        chance_N = chances(signal_N, age_N, sharpness=s.sharpness, decay=s.decay, oldest=s.oldest)
        drawn = draw(chance_N, len(fresh), u=seed_of(self._seed, "replay", step) / 2**63)
        chosen = [pool[i] for i in drawn.index_B.tolist()]
        self.figures = {
            "replay_kept": len(pool) - len(fresh),
            "replay_share": sum(i >= len(fresh) for i in drawn.index_B.tolist()) / len(fresh),
            "replay_staleness": float(age_N[drawn.index_B].mean()),
            "replay_weight_max": float(drawn.weight_B.max()),
        }
        self._kept = [*self._kept, *fresh][-s.capacity :]
        weighed = [_weighed(sample, w) for (_, sample), w in zip(chosen, drawn.weight_B.tolist(), strict=True)]
        return Batch(tuple(weighed), batch.version)

    def state(self) -> list[Any]:
        """Plain values for a checkpoint."""
        return [
            (version, [list(v) if isinstance(v, tuple) else v for v in vars(s).values()]) for version, s in self._kept
        ]


def signal_of(sample: Sample) -> float:
    """What a sample has still to teach: the mean size of its advantages."""
    trained = [abs(a) for a, m in zip(sample.token_advantages, sample.loss_mask, strict=False) if m]
    return sum(trained) / len(trained) if trained else abs(sample.advantage)


def _weighed(sample: Sample, weight: float) -> Sample:
    """Policy losses are linear in the advantage, so this is a weight on the loss."""
    if weight == 1.0:
        return sample
    tokens = tuple(a * weight for a in sample.token_advantages)
    return replace(sample, advantage=sample.advantage * weight, token_advantages=tokens)


def _fields(sample: Sample) -> list[Any]:
    return [list(v) if isinstance(v, tuple) else v for v in vars(sample).values()]


def _sample(fields: Sequence[Any]) -> Sample:
    values: list[Any] = [tuple(v) if isinstance(v, list) else v for v in fields]
    return Sample(*values)
