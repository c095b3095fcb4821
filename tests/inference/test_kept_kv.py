"""Whose keys and values go first where room is short, and what a publication does to them."""

from __future__ import annotations

import asyncio
import random

import pytest
from engine_helpers import error, some, tiny
from hypothesis import given
from hypothesis import strategies as st

from repodojo.core.protocols import Completion, SamplingParams
from repodojo.inference.decoder import Decoder
from repodojo.inference.engine import Engine
from repodojo.inference.kv import Slot
from repodojo.inference.worth import Worth

ONE = SamplingParams(max_tokens=1)


async def say(engine: Engine, ids: list[int], name: str, count: int = 1) -> Completion:
    return await engine.generate(ids, SamplingParams(max_tokens=count), seed=0, session=name)


async def test_the_cheapest_to_compute_again_goes_first_and_not_the_one_used_longest_ago() -> None:
    rng = random.Random(0)
    engine = Engine(tiny(), max_context=512, max_rows=2)
    long, short = some(rng, 5), some(rng, 6)
    done = await say(engine, long, "long", 300)
    long += [*done.token_ids, 1]
    done = await say(engine, short, "short", 20)
    short += [*done.token_ids, 1]
    await say(engine, some(rng, 7), "third")
    assert engine.stats().evictions == 2  # the short one, and its prompt
    before = engine.stats().prefilled_tokens
    await say(engine, long, "long")
    assert engine.stats().prefilled_tokens - before == 1  # the token before the new one: all else was kept
    before = engine.stats().prefilled_tokens
    await say(engine, short, "short")
    assert engine.stats().prefilled_tokens - before == 26


async def test_what_nobody_comes_back_for_goes_in_time_however_dear_it_was() -> None:
    rng = random.Random(1)
    engine = Engine(tiny(), max_context=512, max_rows=2)
    await say(engine, some(rng, 5), "hung", 60)
    for i in range(40):
        await say(engine, some(rng, 5), f"short {i}", 4)
    assert all(session.name != "hung" for session in engine._scheduler._memory.idle)


@given(st.integers(0, 500), st.integers(1, 400), st.integers(1, 100), st.booleans())
def test_worth_grows_with_cost_and_with_the_chance_of_use(start: int, count: int, more: int, by_room: bool) -> None:
    worth, a, b, c = Worth(tiny().architecture, by_room=by_room), Slot(), Slot(), Slot()
    a.length, b.length, c.length = count, count + more, count
    for slot, begin in ((a, start), (b, start), (c, start + more)):
        worth.stamp(slot, begin)
    assert worth.of("prefix", b) > worth.of("prefix", a) > 0
    assert worth.of("prefix", c) > worth.of("prefix", a)  # late tokens attend to more
    worth.rests("conversation", a, start)
    worth.used("conversation")
    worth.rests("prefix", a, start)  # and is not used again
    assert worth.of("conversation", a) > worth.of("prefix", a)
    before = worth.of("prefix", a)
    worth.evicted("prefix", b)
    worth.stamp(a, start)
    assert worth.of("prefix", a) > worth.of("prefix", b) > before  # whatever is used later than an eviction


async def test_conversations_that_all_come_back_at_once_make_room_for_the_oldest() -> None:
    decoder, rng = tiny(), random.Random(3)
    engine = Engine(decoder, max_context=256, kv_tokens=1024)
    talks = [some(rng, 10) for _ in range(8)]
    for turn in range(3):
        done = await asyncio.gather(*(say(engine, ids, str(i), 60) for i, ids in enumerate(talks)))
        assert max(error(decoder, ids, d) for ids, d in zip(talks, done, strict=True)) < 1e-4, turn
        talks = [[*ids, *d.token_ids, 5] for ids, d in zip(talks, done, strict=True)]
    assert engine.stats().evictions > 0 and engine.kv_held <= 1024


# ------------------------------------------------------------ publications


async def interrupted(engine: Engine, decoders: list[Decoder], prompt: list[int], after: int) -> Completion:
    call = asyncio.ensure_future(say(engine, prompt, "a", 30))
    for _ in range(100):
        if engine.stats().decoded_tokens >= after:
            break
        await asyncio.sleep(0)
    engine.publish(1, decoders[1].state_dict())
    return await call


@pytest.mark.parametrize("mode", ["rebuild", "keep"])
async def test_an_interruption_keeps_tokens_and_log_probs_with_their_version(mode: str) -> None:
    decoders, prompt = [tiny(0), tiny(1)], some(random.Random(4), 70)
    engine = Engine(decoders[0], max_context=256, after_publish=mode)  # type: ignore[arg-type]
    done = await interrupted(engine, decoders, prompt, 10)
    assert done.versions == (0,) * 10 + (1,) * 20
    whole = await say(Engine(decoders[0], max_context=256), prompt, "a", 30)
    assert whole.token_ids[:10] == done.token_ids[:10] and whole.logprobs[:10] == done.logprobs[:10]
    after = error(decoders[1], prompt, done, 10)
    stats = engine.stats()
    if mode == "rebuild":  # the tokens after are those of the new policy on the whole context
        assert after < 1e-4 and stats.kept_tokens == 0 and stats.prefilled_tokens == 69 + 69 + 10
    else:
        assert after > 1e-3 and stats.kept_tokens == 10 and stats.prefilled_tokens == 69


async def test_kept_keys_and_values_serve_only_the_conversations_that_had_them() -> None:
    decoders, prompt = [tiny(0), tiny(1)], some(random.Random(5), 70)
    engine = Engine(decoders[0], max_context=256, after_publish="keep")
    first = await interrupted(engine, decoders, prompt, 10)
    before = engine.stats().prefilled_tokens
    fresh = await say(engine, prompt, "b", 8)  # the same prompt, begun after the publication
    assert engine.stats().prefilled_tokens - before == 69 and error(decoders[1], prompt, fresh) < 1e-4
    again = await say(engine, [*prompt, *first.token_ids, 3], "a", 4)  # but for what is new, "a" computes nothing
    assert engine.stats().prefilled_tokens - before == 69 + 1 and set(again.versions) == {1}
    engine.release("a")
    older = engine._scheduler._memory.prefixes._older
    assert not older  # with its last conversation, what old weights computed is gone
