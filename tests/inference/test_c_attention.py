"""The C kernel of attention: equal to plain attention, the same bits in whatever company, and what stands in for it."""

from __future__ import annotations

import asyncio
import random
import subprocess
from pathlib import Path

import pytest
import torch
from engine_helpers import converse, some, store_of, tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from repodojo.core import native as compiling
from repodojo.core.errors import ConfigError
from repodojo.core.protocols import SamplingParams
from repodojo.inference import native
from repodojo.inference.architecture import Architecture
from repodojo.inference.attention import Segment, partial_plain
from repodojo.inference.compiled import CompiledAttention
from repodojo.inference.engine import Engine
from repodojo.inference.kernels import PlainAttention, Row, chosen
from repodojo.inference.kv import Slot, Store
from repodojo.train.config import load
from repodojo.train.setup import pool_settings

pytestmark = pytest.mark.skipif(not compiling.compiler(), reason="no compiler here")
LAYERS = 2


def sizes(head_dim: int = 16) -> Architecture:
    return Architecture("qwen3", 61, 32, 48, LAYERS, 4, 2, head_dim)


class Rows:
    """Conversations over prefixes, some of which began as copies of others, all with chance keys and values."""

    def __init__(self, rng: random.Random, kv_heads: int, head_dim: int) -> None:
        self.own, self.shared = (store_of(LAYERS, kv_heads, head_dim) for _ in range(2))
        prefixes: list[Slot | None] = [None]
        for _ in range(rng.randint(1, 5)):
            length = rng.randint(1, 300)
            slot = self.filled(self.shared, length)
            donors = [other for other in prefixes if other is not None]
            if donors and rng.random() < 0.7:
                donor = rng.choice(donors)
                self.shared.copy(donor, slot, rng.randint(1, min(length, donor.length)))
                slot.length = length
            prefixes.append(slot)
        self.rows: list[Row] = []
        for _ in range(rng.randint(1, 24)):
            slot = self.filled(self.own, rng.choice([1, 3, 64, rng.randint(1, 200)]) + 1)
            slot.length -= 1
            self.rows.append((slot, rng.choice(prefixes)))

    def filled(self, store: Store, length: int) -> Slot:
        slot = Slot()
        arena = store.place(slot, length)
        arena.data[slot.index, :, :, :length].normal_()
        arena.data[slot.index, :, :, length:] = float("nan")  # what an earlier owner may have left there
        slot.length = length
        return slot


def before(slot: Slot | None, layer: int) -> Tensor:
    """[2, kv_heads, length, D]"""
    if slot is None:
        return torch.empty(2, 0, 0, 0)
    assert slot.arena is not None
    at = (layer, slot.index, slot.index + 1, slot.length)
    return torch.cat([slot.arena.keys(*at), slot.arena.values(*at)])


def wanted(slots: Row, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One row's q [M, heads, D], k and v [M, kv_heads, D] after all that its slots held; causal among themselves."""
    own, prefix = (before(slot, layer) for slot in slots)
    parts = [*([prefix] if slots[1] else []), own, torch.stack([k, v]).transpose(1, 2)]
    keys, values = torch.cat(parts, 2)
    heads, past = q.shape[1] // k.shape[1], keys.shape[1] - len(k)
    later = torch.ones(len(k), past + len(k), dtype=torch.bool).triu(past + 1)
    mask = torch.zeros(later.shape).masked_fill(later, float("-inf"))
    spread = [x.repeat_interleave(heads, 0)[None] for x in (keys, values)]
    return partial_plain(q.transpose(0, 1)[None], *spread, mask)[0][0].transpose(0, 1)


@given(seed=st.integers(0, 10**6), shape=st.sampled_from([(1, 1, 16), (2, 2, 16), (1, 7, 32), (4, 1, 48), (2, 2, 64)]))
@settings(deadline=None, max_examples=60)
def test_a_decode_step_equals_plain_attention(seed: int, shape: tuple[int, int, int]) -> None:
    rng, (kv_heads, group, dim) = random.Random(seed), shape
    torch.manual_seed(seed)
    table = Rows(rng, kv_heads, dim)
    places, attend = CompiledAttention(native.kernel(dim)).decode(table.rows)
    rows = [table.rows[place] for place in places]
    assert sorted(places) == list(range(len(table.rows)))
    for layer in range(LAYERS):
        q = torch.randn(len(rows), kv_heads * group, dim) * rng.choice([0.3, 1, 6])
        k, v = (torch.randn(len(rows), kv_heads, dim) for _ in range(2))
        want = [wanted(row, layer, q[i : i + 1], k[i : i + 1], v[i : i + 1]) for i, row in enumerate(rows)]
        got = attend(layer, q, k, v)
        torch.testing.assert_close(got, torch.cat(want), atol=1e-5, rtol=1e-5)
        for i, (own, _) in enumerate(rows):
            assert own.arena is not None
            new = own.arena.data[own.index, layer, :, own.length]
            assert torch.equal(new, torch.cat([k[i], v[i]]))


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_a_row_is_the_same_bits_alone_and_in_company(seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    table, attention = Rows(rng, 2, 16), CompiledAttention(native.kernel(16))
    places, attend = attention.decode(table.rows)
    q, k, v = torch.randn(len(places), 4, 16), torch.randn(len(places), 2, 16), torch.randn(len(places), 2, 16)
    together = attend(1, q, k, v)
    for n in rng.sample(range(len(places)), min(4, len(places))):
        alone = attention.decode([table.rows[places[n]]])[1](1, q[n : n + 1], k[n : n + 1], v[n : n + 1])
        assert torch.equal(alone[0], together[n])


@given(seed=st.integers(0, 10**6), threads=st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=30)
def test_a_prefill_equals_plain_attention(seed: int, threads: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    table = Rows(rng, 2, 16)
    segments, total = [], 0
    for own, prefix in table.rows[:4]:
        count = rng.choice([1, 2, rng.randint(1, 150)])
        table.own.place(own, own.length + count)
        segments.append(Segment(own, range(count), prefix))
        total += count
    q, k, v = torch.randn(total, 4, 16), torch.randn(total, 2, 16), torch.randn(total, 2, 16)
    want, start = [], 0
    for segment in segments:
        part = slice(start, start := start + len(segment.ids))
        want.append(wanted((segment.slot, segment.prefix), 1, q[part], k[part], v[part]))
    got = CompiledAttention(native.kernel(16)).prefill(segments)(1, q, k, v)
    torch.testing.assert_close(got, torch.cat(want), atol=1e-5, rtol=1e-5)


def test_what_began_as_a_copy_is_read_once_until_it_is_void() -> None:
    store, attention = store_of(LAYERS, 1, 16), CompiledAttention(native.kernel(16))
    slots = [Slot() for _ in range(3)]
    for slot in slots:
        store.place(slot, 200)
        slot.length = 200
    for slot in slots[1:]:
        store.copy(slots[0], slot, 150)
        slot.length = 200
    own = store_of(LAYERS, 1, 16)
    rows: list[Row] = [(Slot(), slot) for slot in slots]
    for mine, _ in rows:
        own.place(mine, 1)

    def read() -> int:
        return sum(int(stop - start) for *_, start, stop, _ in attention.decode(rows)[1]._passes)

    assert read() == 128 + 3 * (200 - 128) + 3
    slots[2].empty()
    slots[2].length = 200
    assert read() == 128 + 2 * (200 - 128) + 200 + 3


@pytest.mark.parametrize("attention", ["c", "torch"])
async def test_turns_groups_and_evictions_with_either(attention: native.Attention) -> None:
    decoder, rng = tiny(), random.Random(7)
    engine = Engine(decoder, max_context=512, max_rows=5, prefill_tokens=48, attention=attention)
    head = some(rng, 90)
    prompts = [head + some(rng, 30), head + some(rng, 70), some(rng, 5), [4]]
    talks = (converse(engine, decoder, prompts[i % 4], f"s{i}", pause=8) for i in range(11))
    assert max(await asyncio.gather(*talks)) < 1e-4
    assert engine.stats().evictions > 0


@pytest.mark.parametrize("attention", ["c", "torch"])
async def test_tokens_do_not_depend_on_company_with_either(attention: native.Attention) -> None:
    decoder, rng = tiny(), random.Random(2)
    shared = some(rng, 130)
    prompts = [shared[: 130 - i % 3] + some(rng, i % 5) for i in range(24)]
    engine = Engine(decoder, max_context=512, max_rows=20, attention=attention)
    params = SamplingParams(max_tokens=12)
    together = await asyncio.gather(*(engine.generate(prompt, params, seed=i) for i, prompt in enumerate(prompts)))
    for i in range(0, 24, 4):
        alone = await Engine(decoder, max_context=512, attention=attention).generate(prompts[i], params, seed=i)
        assert alone.token_ids == together[i].token_ids
        assert alone.logprobs == pytest.approx(together[i].logprobs, abs=1e-5)


def test_it_compiles_without_a_warning_for_every_width(tmp_path: Path) -> None:
    for words in (["-DDIM=16"], ["-DDIM=64", "-march=native"], ["-DDIM=128"]):
        command = [compiling.compiler(), *native.FLAGS, "-Werror", *words, "-o", str(tmp_path / "made")]
        done = subprocess.run([*command, str(native.source())], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_where_it_cannot_be_had_torch_stands_in_and_a_demand_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(chosen("auto", sizes(), torch.float32), CompiledAttention)
    assert isinstance(chosen("torch", sizes(), torch.float32), PlainAttention)
    assert isinstance(chosen("auto", sizes(), torch.bfloat16), PlainAttention)
    assert isinstance(chosen("auto", sizes(24), torch.float32), PlainAttention)
    with pytest.raises(ConfigError, match="float32, not bfloat16"):
        chosen("c", sizes(), torch.bfloat16)
    with pytest.raises(ConfigError, match="multiple of 16 dimensions, not 24"):
        chosen("c", sizes(24), torch.float32)
    native.kernel.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        assert isinstance(chosen("auto", sizes(), torch.float32), PlainAttention)
        with pytest.raises(ConfigError, match="no compiler"):
            Engine(tiny(), max_context=64, attention="c")
    finally:
        native.kernel.cache_clear()


def test_the_setting_reaches_whoever_samples() -> None:
    for name in ("auto", "c", "torch"):
        config = load(None, [f'rollout.attention="{name}"', 'tasks.store="x"'])
        assert config.rollout.attention == name == pool_settings(config).attention
    with pytest.raises(ConfigError):
        load(None, ['rollout.attention="cuda"'])
    with pytest.raises(ConfigError, match="float32"):
        load(None, ['rollout.attention="torch"', "model.dtype=bfloat16"])
