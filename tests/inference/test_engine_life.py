"""Calls that are cancelled, released, refused or fail leave the engine right for everyone else."""

from __future__ import annotations

import asyncio
import random

import pytest
import torch
from engine_helpers import VOCABULARY, converse, error, some, tiny

from repodojo.core.errors import CheckpointError, ConfigError, EngineError
from repodojo.core.protocols import Completion, Model, SamplingParams, WeightSink
from repodojo.inference.engine import Engine


async def test_weights_that_do_not_fit_are_refused_and_the_old_ones_stay() -> None:
    decoder = tiny()
    engine = Engine(decoder, max_context=64)
    with pytest.raises(CheckpointError, match="embed_tokens"):
        engine.publish(1, {"model.embed_tokens.weight": torch.zeros(2, 2)})
    done = await engine.generate([1, 2], SamplingParams(max_tokens=3), seed=0)
    assert done.versions == (0, 0, 0)
    assert error(decoder, [1, 2], done) < 1e-4


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
