"""Batches of episodes or answers that are imitated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from repodojo.core.records import Sample


def batches(samples: Sequence[Sample], *, epochs: int, tokens: int, most: int = 0, seed: int) -> Iterator[list[Sample]]:
    """Shuffled batches of about `tokens` tokens and at most `most` samples (0: any), every sample once an epoch."""
    rng = random.Random(seed)
    most = most or len(samples)
    for _ in range(epochs):
        batch: list[Sample] = []
        size = 0
        for chosen in rng.sample(list(samples), len(samples)):
            if batch and (size + len(chosen.token_ids) > tokens or len(batch) == most):
                yield batch
                batch, size = [], 0
            batch.append(chosen)
            size += len(chosen.token_ids)
        if batch:
            yield batch
