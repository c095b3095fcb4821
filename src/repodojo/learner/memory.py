"""What a step of the learner holds in memory, counted from the model's sizes."""

from __future__ import annotations

from dataclasses import dataclass

from repodojo.inference.architecture import Architecture
from repodojo.learner.logprobs import CHUNK_ELEMENTS

FLOAT = 4
"""Bytes of a float32. Weights, gradients and optimiser are always float32; under autocast activations need less."""


@dataclass(frozen=True)
class Memory:
    """Bytes. `activations` is what the forward pass keeps for the backward pass of one micro-batch; `working` is what
    one block and one chunk of logits need on top while they are computed."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    working: int

    @property
    def total(self) -> int:
        """All of it: the peak of a step, less what Python and PyTorch need for themselves."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.working


def of_step(a: Architecture, rows: int, *, recompute: bool = False, moments: int = 2) -> Memory:
    """Memory of a step on micro-batches of `rows` rows; `moments` is the optimiser's numbers a weight (AdamW 2).

    A block keeps, a row: of each norm its input, the normalised input and the output (6 hidden), the first two for
    queries and keys where they have a norm, attention's q, k, v, output and log-sum-exp, and of the feed-forward the
    gate, its activation, the other factor and the product (4 intermediate). With `recompute` it keeps its input only,
    and one block at a time keeps the rest.
    """
    q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    block = 6 * a.hidden + (2 * q + 2 * kv if a.qk_norm else 0) + 2 * q + 2 * kv + a.heads + 4 * a.intermediate
    kept = a.layers * a.hidden + block if recompute else a.layers * block
    last = 4 * a.hidden  # of the last norm, and the rows that predict an action token
    weights = a.parameters() * FLOAT
    working = rows * max(3 * a.intermediate, 4 * q) + CHUNK_ELEMENTS
    return Memory(
        weights=weights,
        gradients=weights,
        optimizer=moments * weights,
        activations=rows * (kept + last) * FLOAT,
        working=working * FLOAT,
    )
