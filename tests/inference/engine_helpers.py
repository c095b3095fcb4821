"""Tiny models, and the comparison with one full forward, for the engine's tests."""

from __future__ import annotations

import asyncio
import random

import torch

from repodojo.core.protocols import Completion, SamplingParams
from repodojo.inference.architecture import Architecture
from repodojo.inference.decoder import Decoder, causal
from repodojo.inference.engine import Engine
from repodojo.inference.kv import SlotShape, Store

VOCABULARY = 61


def tiny(seed: int = 0, layout: str = "qwen3", kv_heads: int = 2) -> Decoder:
    torch.manual_seed(seed)
    architecture = Architecture(layout, VOCABULARY, 32, 48, 2, 4, kv_heads, 16, max_positions=512)
    decoder = Decoder(architecture)
    for parameter in decoder.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0.0, 0.2)
    return decoder


def store_of(layers: int, kv_heads: int, head_dim: int) -> Store:
    return Store(SlotShape(layers, kv_heads, head_dim, torch.float32, torch.device("cpu")))


def some(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(VOCABULARY) for _ in range(count)]


@torch.no_grad()
def error(decoder: Decoder, ids: list[int], done: Completion, first: int = 0, last: int | None = None) -> float:
    """Largest difference between a completion's log-probs (of tokens first to last) and one full forward."""
    full = torch.tensor([*ids, *done.token_ids])
    hidden = decoder.hidden(full, torch.arange(len(full)), lambda _layer, q, k, v: causal(q, k, v))
    logprobs = decoder.logits(hidden).log_softmax(-1)[len(ids) - 1 : -1]
    want = logprobs.gather(1, torch.tensor(done.token_ids)[:, None])[:, 0]
    return float((want - torch.tensor(done.logprobs))[first:last].abs().max())


async def converse(
    engine: Engine, decoder: Decoder, prompt: list[int], name: str, *, turns: int = 4, pause: int = 0
) -> float:
    rng, ids, worst = random.Random(name), list(prompt), 0.0
    for _ in range(turns):
        params = SamplingParams(max_tokens=rng.randint(1, 12), stop_ids=(7,))
        done = await engine.generate(ids, params, seed=3, session=name)
        worst = max(worst, error(decoder, ids, done))
        ids += [*done.token_ids, *some(rng, rng.randint(1, 25))]
        for _ in range(rng.randint(0, pause)):
            await asyncio.sleep(0)
    engine.release(name)
    return worst
