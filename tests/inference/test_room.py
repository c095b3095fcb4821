"""Memory for keys and values stays within its bound, whatever comes, and every token is what it would be without."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from engine_helpers import converse, error, some, store_of, tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.core.errors import ConfigError
from repodojo.core.protocols import SamplingParams
from repodojo.inference.engine import Engine
from repodojo.inference.kv import SMALLEST, Slot, Store, capacity_for
from repodojo.inference.room import Room


class Watched(Engine):
    """Notes the most memory held between steps."""

    most = 0

    async def watch(self) -> None:
        while True:
            self.most = max(self.most, self.kv_held)
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(3))
async def test_what_does_not_fit_waits_and_comes_out_the_same(seed: int) -> None:
    decoder, rng = tiny(), random.Random(seed)
    shared = some(rng, 90)
    prompts = [shared if i % 2 else some(rng, rng.randint(1, 60)) for i in range(12)]
    params = SamplingParams(max_tokens=90)
    engine = Watched(decoder, max_context=256, kv_tokens=1024, prefill_tokens=64)
    watcher = asyncio.ensure_future(engine.watch())
    calls = [engine.generate(p, params, seed=i, session=f"s{i}") for i, p in enumerate(prompts)]
    together = await asyncio.gather(*calls)
    talks = [converse(engine, decoder, prompt, f"t{i}", turns=3) for i, prompt in enumerate(prompts)]
    assert max(await asyncio.gather(*talks)) < 1e-4
    watcher.cancel()
    free = Engine(decoder, max_context=256)
    for i in range(0, 12, 3):
        alone = await free.generate(prompts[i], params, seed=i)
        assert alone.token_ids == together[i].token_ids
    assert max(error(decoder, p, done) for p, done in zip(prompts, together, strict=True)) < 1e-4
    assert SMALLEST < engine.most <= 1024
    arena = next(iter(engine._scheduler._memory.own.arenas.values()))
    assert engine.kv_bytes == arena.data[0, :, :, 0].numel() * 4
    assert engine.stats().cancelled > 0 and engine.stats().evictions > 0


async def test_the_oldest_is_never_cancelled() -> None:
    decoder, rng = tiny(), random.Random(1)
    engine = Engine(decoder, max_context=256, kv_tokens=1024)
    ended: list[int] = []

    async def one(i: int) -> None:
        await engine.generate(some(rng, 10), SamplingParams(max_tokens=200), seed=i)
        ended.append(i)

    await asyncio.gather(*(one(i) for i in range(9)))
    assert engine.stats().cancelled > 0
    assert ended == sorted(ended)  # all are as long, so whoever came first ends first


async def test_a_long_observation_does_not_stall_those_who_decode() -> None:
    rng = random.Random(2)
    engine = Engine(tiny(), max_context=512, prefill_tokens=32)
    talker = asyncio.ensure_future(engine.generate([1], SamplingParams(max_tokens=60), seed=0))
    for _ in range(5):
        await asyncio.sleep(0)
    before, first = engine.stats().decoded_tokens, engine.stats().prefilled_tokens
    long = asyncio.ensure_future(engine.generate(some(rng, 449), SamplingParams(max_tokens=1), seed=1))
    seen: list[tuple[int, int]] = []
    while not long.done():
        await asyncio.sleep(0)
        seen.append((engine.stats().decoded_tokens - before, engine.stats().prefilled_tokens - first))
    while_computing = {decoded: prefilled for decoded, prefilled in seen if 0 < prefilled < 448}
    assert len(while_computing) >= 448 // 32 - 1  # a token of the other between any two chunks
    steps = sorted({prefilled for _, prefilled in seen})
    assert max(b - a for a, b in itertools.pairwise(steps)) <= 32
    await talker


@given(st.integers(0, 10**6))
@settings(max_examples=40)
def test_a_room_keeps_its_bound_and_its_content(seed: int) -> None:
    rng = random.Random(seed)
    stores = [store_of(1, 1, 4) for _ in range(2)]
    room, held = Room(stores, 2048), dict[Slot, tuple[Store, float]]()
    for step in range(60):
        if held and rng.random() < 0.35:
            slot = rng.choice(list(held))
            held.pop(slot)[0].drop(slot)
        else:
            new = not held or rng.random() < 0.6
            slot = Slot() if new else rng.choice(list(held))
            store = rng.choice(stores) if new else held[slot][0]
            length = rng.randint(1, 300) if new else slot.length + rng.randint(0, 200)
            before = room.held
            if room.place(store, slot, length):
                value = float(step) if new else held[slot][1]
                assert slot.arena is not None
                slot.arena.data[slot.index, :, :, :length] = value
                slot.length, held[slot] = length, (store, value)
            else:
                needed = sum(s.arena.capacity for s in held if s.arena)
                assert needed + capacity_for(length) > 2048 and room.held <= before
        assert room.held <= 2048
        for slot, (_, value) in held.items():
            assert slot.arena is not None and slot.arena.owners[slot.index] is slot
            assert (slot.arena.data[slot.index, :, :, : slot.length] == value).all()


def test_a_bound_that_could_not_hold_one_conversation_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1024"):
        Engine(tiny(), max_context=256, kv_tokens=1023)


@given(st.integers(1, 10**6))
def test_capacities_are_powers_of_two_times_the_smallest(length: int) -> None:
    capacity = capacity_for(length)
    assert capacity >= length and (capacity // 2 < length or capacity == SMALLEST)
    assert capacity % SMALLEST == 0 and (capacity // SMALLEST).bit_count() == 1
