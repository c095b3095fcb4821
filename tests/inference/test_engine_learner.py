"""What the engine says it sampled is what the learner would say: the same log-probs, by two different computations."""

from __future__ import annotations

import asyncio
import random

import pytest
import torch
from engine_helpers import some, tiny

from repodojo.algorithms.recipes import recipe
from repodojo.core.protocols import SamplingParams
from repodojo.core.records import Batch, Sample
from repodojo.inference.decoder import Decoder
from repodojo.inference.engine import Engine
from repodojo.learner.steps import Learner


async def trajectory(engine: Engine, group: int, member: int) -> Sample:
    """Several turns after the group's prompt, the observations of each member its own; ends where its context does."""
    rng = random.Random(1000 * group + member)
    ids = some(random.Random(group), 20 + 30 * group)
    mask, logprobs = [False] * len(ids), [0.0] * len(ids)
    for turn in range(4):
        params = SamplingParams(max_tokens=rng.randint(1, 14), stop_ids=(7,))
        done = await engine.generate(ids, params, seed=turn, session=f"{group}/{member}")
        seen = some(rng, rng.randint(1, 40))
        ids += [*done.token_ids, *seen]
        mask += [True] * len(done.token_ids) + [False] * len(seen)
        logprobs += [*done.logprobs, *[0.0] * len(seen)]
    engine.release(f"{group}/{member}")
    return Sample(tuple(ids), tuple(mask), tuple(logprobs), 1.0, str(group))


async def trajectories(decoder: Decoder, dtype: torch.dtype, kv_tokens: int | None) -> list[Sample]:
    engine = Engine(decoder, dtype=dtype, max_context=512, max_rows=9, kv_tokens=kv_tokens, prefill_tokens=40)
    made = [trajectory(engine, group, member) for group in range(3) for member in range(5)]
    return list(await asyncio.gather(*made))


def differences(decoder: Decoder, samples: list[Sample], dtype: str = "float32") -> torch.Tensor:
    """Of every sampled token: |engine - learner|; the learner packs groups as trees, in micro-batches."""
    learner = Learner(decoder, token_budget=600, dtype=dtype)
    learned = learner.logprobs(decoder, samples).values_T
    sampled = torch.tensor([x for sample in samples for x in sample.logprobs])
    mask = torch.tensor([x for sample in samples for x in sample.loss_mask])
    return (learned - sampled)[mask].abs()


@pytest.mark.parametrize(("layout", "kv_heads"), [("qwen3", 2), ("qwen2", 1), ("llama", 4)])
@pytest.mark.parametrize("kv_tokens", [None, 2048])
async def test_in_float32_engine_and_learner_agree(layout: str, kv_heads: int, kv_tokens: int | None) -> None:
    decoder = tiny(3, layout, kv_heads)
    samples = await trajectories(decoder, torch.float32, kv_tokens)
    found = differences(decoder, samples)
    assert len(found) > 150 and float(found.max()) < 1e-4


async def test_in_bfloat16_they_differ_and_the_learner_reports_by_how_much() -> None:
    decoder = tiny(3)
    samples = await trajectories(decoder, torch.bfloat16, None)
    exact = differences(decoder, samples)
    assert 1e-4 < float(exact.mean()) < 0.1  # the learner in float32: what the engine's number format costs
    metrics = Learner(decoder, token_budget=600).rl_step(Batch(tuple(samples), 0), recipe("grpo_pp"))
    assert metrics["mismatch_mean"] == pytest.approx(float(exact.mean()), rel=1e-3)
    assert metrics["mismatch_max"] == pytest.approx(float(exact.max()), rel=1e-3)
