"""Drawing tokens: a request's randomness depends on its own seed and position alone, never on who else is served."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def uniforms(key: tuple[int, int], position: int, count: int) -> list[float]:
    """`count` numbers in [0, 1) for the tokens from `position` on; (engine seed, request seed) is the key.

    Philox is counter-based (Salmon et al. 2011): the same key and position give the same numbers anywhere. Positions
    are part of the key, so that a conversation that keeps one seed does not draw the same numbers every turn.
    """
    words = [part & 0xFFFFFFFFFFFFFFFF for part in (*key, position)]
    drawn: list[float] = np.random.Generator(np.random.Philox(np.random.SeedSequence(words))).random(count).tolist()
    return drawn


def draw(logits: Tensor, temperatures: list[float], u: list[float]) -> tuple[list[int], list[float]]:
    """One token a row, with its log-probability under the distribution that it was drawn from.

    logits [B, V] float32; temperature 0 takes the most likely token and reports its log-probability at temperature 1;
    u [B] in [0, 1): the token is where the cumulative distribution first exceeds it.
    """
    tokens, logprobs = drawn(logits, temperatures, u)
    return tokens.tolist(), logprobs.tolist()


def drawn(logits: Tensor, temperatures: list[float], u: list[float]) -> tuple[Tensor, Tensor]:
    """As `draw`, the tokens and log-probabilities [B] still on the device that the logits are on."""
    if any(t not in (0.0, 1.0) for t in temperatures):
        logits = logits / torch.tensor([t or 1.0 for t in temperatures], device=logits.device)[:, None]
    top = logits.amax(-1, keepdim=True)
    # torch adds up in double precision on the CPU, whatever it returns; a device does so where it is told to
    cumulative = (logits - top).exp_().cumsum(-1, dtype=None if logits.device.type == "cpu" else torch.float64)
    total = cumulative[:, -1:]
    # right=True: a token of probability 0 is never reached, not even by u = 0
    tokens = torch.searchsorted(cumulative, torch.tensor(u, device=logits.device)[:, None] * total, right=True)
    tokens.clamp_(max=logits.shape[1] - 1)
    if 0.0 in temperatures:
        greedy = torch.tensor([t == 0.0 for t in temperatures], device=logits.device)[:, None]
        tokens = torch.where(greedy, logits.argmax(-1, keepdim=True), tokens)
    logprobs = logits.gather(1, tokens) - top - total.log()
    return tokens[:, 0], logprobs[:, 0]
