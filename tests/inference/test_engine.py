"""The engine samples exactly what the model says, whatever it kept, shared, dropped or swapped."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
import torch
from engine_helpers import VOCABULARY, converse, error, some, tiny
from transformers import AutoConfig, AutoModelForCausalLM

from repodojo.core.protocols import Completion, SamplingParams
from repodojo.inference.engine import Engine


@pytest.mark.parametrize(("kv_heads", "rows"), [(1, 64), (2, 3), (4, 5)])
async def test_logprobs_equal_a_full_forward_over_turns_groups_and_evictions(kv_heads: int, rows: int) -> None:
    decoder, rng = tiny(kv_heads=kv_heads), random.Random(0)
    engine = Engine(decoder, max_context=512, max_rows=rows, prefill_tokens=48)
    head = some(rng, 40)
    prompts = [head + some(rng, 30), head + some(rng, 70), some(rng, 5), [4]]
    names = [f"s{i}" for i in range(11)]
    errors = await asyncio.gather(
        *(converse(engine, decoder, prompts[i % 4], name, pause=8) for i, name in enumerate(names))
    )
    assert max(errors) < 1e-4
    assert (engine.stats().evictions > 0) == (rows < 64)


async def test_a_crowd_on_one_prompt_beside_loners() -> None:
    decoder, rng = tiny(), random.Random(1)
    engine = Engine(decoder, max_context=512)
    crowd, loners = some(rng, 90), [some(rng, rng.randint(1, 200)) for _ in range(5)]
    prompts = [crowd] * 30 + loners
    errors = await asyncio.gather(*(converse(engine, decoder, p, f"c{i}", turns=2) for i, p in enumerate(prompts)))
    assert max(errors) < 1e-4


async def test_tokens_do_not_depend_on_who_else_is_served() -> None:
    decoder, rng = tiny(), random.Random(2)
    shared = some(rng, 60)
    prompts = [shared if i % 3 else some(rng, rng.randint(1, 150)) for i in range(40)]
    params = [SamplingParams(temperature=(1.0, 0.6, 0.0)[i % 3], max_tokens=5 + i % 20) for i in range(40)]
    crowded = Engine(decoder, max_context=512, max_rows=25, prefill_tokens=64)
    together = await asyncio.gather(*(crowded.generate(prompt, params[i], seed=i) for i, prompt in enumerate(prompts)))
    for i in range(0, 40, 5):
        alone = await Engine(decoder, max_context=512).generate(prompts[i], params[i], seed=i)
        assert alone.token_ids == together[i].token_ids
        assert alone.logprobs == pytest.approx(together[i].logprobs, abs=1e-4)


@pytest.mark.parametrize("layout", ["qwen2", "qwen3", "llama"])
async def test_a_conversation_equals_transformers(layout: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
    }
    reference = AutoModelForCausalLM.from_config(AutoConfig.for_model(layout, **sizes)).eval()
    reference.save_pretrained(tmp_path)
    engine, rng = Engine(tmp_path, max_context=256), random.Random(0)
    ids = some(rng, 50)
    for turn in range(4):
        done = await engine.generate(ids, SamplingParams(max_tokens=9), seed=turn, session="one")
        with torch.no_grad():
            logits = reference(torch.tensor([[*ids, *done.token_ids]])).logits[0, len(ids) - 1 : -1]
        want = logits.float().log_softmax(-1).gather(1, torch.tensor(done.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(done.logprobs), want, atol=1e-4, rtol=0)
        ids += [*done.token_ids, *some(rng, 15)]


async def test_only_new_tokens_are_computed() -> None:
    decoder, rng = tiny(), random.Random(3)
    engine, prompt = Engine(decoder, max_context=512), some(rng, 101)
    params = SamplingParams(max_tokens=10)
    group = await asyncio.gather(*(engine.generate(prompt, params, seed=i, session=f"g{i}") for i in range(8)))
    assert engine.stats().prefilled_tokens == 100  # once for the group; the last token is decoded
    await engine.generate([*prompt, *group[0].token_ids, *some(rng, 20)], params, seed=0, session="g0")
    assert engine.stats().prefilled_tokens == 100 + 20  # the last sampled token and all new ones but the last
    await engine.generate([*prompt[:60], *some(rng, 31)], params, seed=0)
    assert engine.stats().prefilled_tokens == 120 + 30  # what another prompt begins with is copied
    assert engine.stats().decoded_tokens == 100


async def test_prompts_that_arrive_together_and_begin_alike_share_the_work() -> None:
    rng = random.Random(4)
    engine, head = Engine(tiny(), max_context=512), some(rng, 200)
    prompts = [[*head, n, *some(rng, 20)] for n in range(6)]
    await asyncio.gather(*(engine.generate(p, SamplingParams(max_tokens=2), seed=0) for p in prompts))
    assert engine.stats().prefilled_tokens == 200 + 6 * 20


async def test_a_rewritten_context_is_recomputed_from_where_it_differs() -> None:
    decoder, rng = tiny(), random.Random(5)
    engine, prompt, params = Engine(decoder, max_context=512), some(rng, 50), SamplingParams(max_tokens=6)
    first = await engine.generate(prompt, params, seed=0, session="a")
    longer = [*prompt, *first.token_ids, *some(rng, 30)]
    rewritten = [*longer[:60], (longer[60] + 1) % VOCABULARY, *longer[61:]]
    early = [*longer[:5], (longer[5] + 1) % VOCABULARY, *longer[6:]]
    variants = [
        longer,
        rewritten,
        early,
        prompt[:20],
        [*prompt[:20], *some(rng, 60)],
        longer,
        longer,
        prompt,
        [prompt[0]],
    ]
    for ids in variants:
        done = await engine.generate(ids, params, seed=1, session="a")
        assert error(decoder, ids, done) < 1e-4


async def test_weights_published_midway_are_used_from_the_next_token_on() -> None:
    old, new, rng = tiny(0), tiny(9), random.Random(6)
    engine = Engine(old, max_context=512)
    prompts = [some(rng, 40)] * 4 + [some(rng, 25)]
    calls = [
        asyncio.create_task(engine.generate(p, SamplingParams(max_tokens=30), seed=i, session=str(i)))
        for i, p in enumerate(prompts)
    ]
    idle = await engine.generate([1, 2, 3], SamplingParams(max_tokens=4), seed=0, session="idle")
    engine.publish(5, new.state_dict())
    for prompt, done in zip(prompts, await asyncio.gather(*calls), strict=True):
        swap = done.versions.index(5)
        assert done.versions == (0,) * swap + (5,) * (30 - swap) and swap > 0
        assert error(old, prompt, done, 0, swap) < 1e-4
        assert error(new, prompt, done, swap) < 1e-4
    again = await engine.generate([1, 2, 3, *idle.token_ids, 4], SamplingParams(max_tokens=4), seed=0, session="idle")
    assert error(new, [1, 2, 3, *idle.token_ids, 4], again) < 1e-4
    assert set(again.versions) == {5}


async def test_how_a_completion_ends() -> None:
    engine = Engine(tiny(), max_context=20)
    free = await engine.generate([1, 2, 3], SamplingParams(max_tokens=10), seed=4)
    assert (free.finished, len(free.token_ids)) == ("length", 10)
    stop = free.token_ids[5]
    stopped = await engine.generate([1, 2, 3], SamplingParams(max_tokens=10, stop_ids=(stop,)), seed=4)
    assert stopped.finished == "stop"
    assert stopped.token_ids == free.token_ids[: free.token_ids.index(stop) + 1]
    full = await engine.generate([1, 2, 3], SamplingParams(max_tokens=100), seed=4)
    assert (full.finished, len(full.token_ids)) == ("context", 17)
    beyond = await engine.generate([1] * 20, SamplingParams(), seed=4)
    assert beyond == Completion((), (), (), finished="context")


async def test_a_conversation_with_one_seed_does_not_repeat_its_draws() -> None:
    decoder = tiny()
    for parameter in decoder.parameters():
        parameter.data.zero_()  # every token is as likely, so tokens show the draws themselves
    engine, params = Engine(decoder, max_context=512), SamplingParams(max_tokens=12)
    first = await engine.generate([1], params, seed=3, session="a")
    second = await engine.generate([1, *first.token_ids, 2], params, seed=3, session="a")
    assert first.token_ids != second.token_ids
    assert first == await engine.generate([1], params, seed=3)
    assert first != await Engine(decoder, max_context=512, seed=1).generate([1], params, seed=3)


async def test_bfloat16_stays_near_full_precision() -> None:
    decoder, rng = tiny(), random.Random(8)
    engine = Engine(decoder, max_context=512, dtype=torch.bfloat16)
    errors = await asyncio.gather(*(converse(engine, decoder, some(rng, 40), f"b{i}") for i in range(6)))
    assert 0 < max(errors) < 0.2
