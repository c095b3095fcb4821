"""The engine samples exactly what the model says, whatever it kept, shared, dropped or swapped."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from repodojo.core.errors import CheckpointError, ConfigError, EngineError
from repodojo.core.protocols import Completion, Model, SamplingParams, WeightSink
from repodojo.inference.architecture import Architecture
from repodojo.inference.decoder import Decoder, causal
from repodojo.inference.engine import Engine

VOCABULARY = 61


def tiny(seed: int = 0, layout: str = "qwen3", kv_heads: int = 2) -> Decoder:
    torch.manual_seed(seed)
    architecture = Architecture(layout, VOCABULARY, 32, 48, 2, 4, kv_heads, 16, max_positions=512)
    decoder = Decoder(architecture)
    for parameter in decoder.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0.0, 0.2)
    return decoder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a rollout worker; threads only get in each other's way on models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


async def test_weights_that_do_not_fit_are_refused_and_the_old_ones_stay() -> None:
    decoder = tiny()
    engine = Engine(decoder, max_context=64)
    with pytest.raises(CheckpointError, match="embed_tokens"):
        engine.publish(1, {"model.embed_tokens.weight": torch.zeros(2, 2)})
    done = await engine.generate([1, 2], SamplingParams(max_tokens=3), seed=0)
    assert done.versions == (0, 0, 0)
    assert error(decoder, [1, 2], done) < 1e-4


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


async def test_a_cancelled_call_leaves_the_others_and_its_session_intact() -> None:
    decoder, rng = tiny(), random.Random(7)
    engine, prompt = Engine(decoder, max_context=512), some(rng, 30)
    others = [asyncio.create_task(converse(engine, decoder, prompt, f"o{i}")) for i in range(5)]
    call = asyncio.create_task(engine.generate(prompt, SamplingParams(max_tokens=400), seed=0, session="gone"))
    for _ in range(12):
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert max(await asyncio.gather(*others)) < 1e-4
    assert await converse(engine, decoder, prompt, "gone") < 1e-4
    assert not engine.busy


@pytest.mark.parametrize("seed", range(4))
async def test_every_token_is_right_under_random_cancels_releases_and_publishes(seed: int) -> None:
    rng, decoders = random.Random(seed), [tiny(0), tiny(1), tiny(2)]
    engine = Engine(decoders[0], max_context=512, max_rows=rng.choice([2, 5, 30]), prefill_tokens=rng.choice([9, 64]))
    prompts = [some(rng, rng.randint(1, 90)) for _ in range(3)]

    async def episode(name: str, ids: list[int]) -> float:
        worst = 0.0
        for turn in range(5):
            params = SamplingParams(max_tokens=rng.randint(1, 25))
            call = asyncio.ensure_future(engine.generate(ids, params, seed=turn, session=name))
            for _ in range(rng.randint(0, 30)):
                await asyncio.sleep(0)
            if rng.random() < 0.25:
                call.cancel()
            (done,) = await asyncio.gather(call, return_exceptions=True)
            if isinstance(done, Completion):
                for place, version in enumerate(done.versions):
                    worst = max(worst, error(decoders[version], ids, done, place, place + 1))
                ids = [*ids, *done.token_ids, *some(rng, rng.randint(0, 20))]
            if rng.random() < 0.2:
                ids = [*ids[: rng.randint(1, len(ids))], 3]
            if rng.random() < 0.2:
                engine.release(name)
        engine.release(name)
        return worst

    async def publish() -> None:
        for version in (1, 2):
            for _ in range(rng.randint(5, 60)):
                await asyncio.sleep(0)
            engine.publish(version, decoders[version].state_dict())

    episodes = [episode(f"e{i}", list(prompts[i % 3])) for i in range(9)]
    *errors, _ = await asyncio.gather(*episodes, publish())
    assert max(errors) < 1e-4
    assert not engine.busy


async def test_a_failure_reaches_everyone_and_the_engine_recovers() -> None:
    decoder = tiny()
    engine = Engine(decoder, max_context=64)
    engine.publish(1, {name: torch.full_like(w, float("nan")) for name, w in decoder.state_dict().items()})
    calls = [engine.generate([1, 2, i], SamplingParams(), seed=0, session=str(i)) for i in range(3)]
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, EngineError) and "version 1" in str(outcome)
    engine.publish(2, decoder.state_dict())
    assert await converse(engine, decoder, [1, 2, 0], "0") < 1e-4


async def test_an_unforeseen_failure_is_an_engine_error_with_its_cause() -> None:
    engine = Engine(tiny(), max_context=64)
    with pytest.raises(EngineError, match="TypeError") as caught:
        await engine.generate([1], SamplingParams(stop_ids=None), seed=0)  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, TypeError)


async def test_closing_rejects_who_waits_and_who_comes() -> None:
    engine = Engine(tiny(), max_context=512, max_rows=1)
    calls = [asyncio.create_task(engine.generate([i], SamplingParams(max_tokens=400), seed=0)) for i in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    await engine.aclose()
    await engine.aclose()
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, EngineError)
    with pytest.raises(EngineError, match="closed"):
        await engine.generate([1], SamplingParams(), seed=0)


async def test_misuse_is_refused() -> None:
    engine = Engine(tiny(), max_context=64)
    for ids in ([], [VOCABULARY], [-1]):
        with pytest.raises(ValueError, match="token_ids"):
            await engine.generate(ids, SamplingParams(), seed=0)
    with pytest.raises(ValueError, match="temperature"):
        await engine.generate([1], SamplingParams(temperature=-1), seed=0)
    first = asyncio.create_task(engine.generate([1], SamplingParams(max_tokens=4), seed=0, session="a"))
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="'a' already has a call in flight"):
        await engine.generate([1], SamplingParams(), seed=0, session="a")
    assert len((await first).token_ids) == 4
    with pytest.raises(ConfigError, match="max_rows"):
        Engine(tiny(), max_context=64, max_rows=0)


async def test_what_is_released_or_has_no_name_is_in_nobodys_way() -> None:
    decoder = tiny()
    engine = Engine(decoder, max_context=64, max_rows=2)
    for turn in range(4):
        call = asyncio.create_task(engine.generate([1, 2], SamplingParams(max_tokens=20), seed=turn, session="a"))
        await asyncio.sleep(0)
        engine.release("a")  # in flight: it ends, then it is freed
        engine.release("never seen")
        assert error(decoder, [1, 2], await call) < 1e-4
        await engine.generate([1, 2], SamplingParams(max_tokens=2), seed=turn)
        await converse(engine, decoder, [1, 2], "b", turns=1)
    assert engine.stats().evictions == 0


def test_an_engine_outlives_its_event_loop() -> None:
    decoder = tiny()
    engine: Model = Engine(decoder, max_context=512)
    sink: WeightSink = engine  # type: ignore[assignment]
    assert sink is engine
    for _ in range(2):
        assert asyncio.run(converse(engine, decoder, [1, 2, 3], "a")) < 1e-4  # type: ignore[arg-type]


async def test_bfloat16_stays_near_full_precision() -> None:
    decoder, rng = tiny(), random.Random(8)
    engine = Engine(decoder, max_context=512, dtype=torch.bfloat16)
    errors = await asyncio.gather(*(converse(engine, decoder, some(rng, 40), f"b{i}") for i in range(6)))
    assert 0 < max(errors) < 0.2
