"""The engine's parts: the fused forward, attention in parts, slots that move, and sampling."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from engine_helpers import store_of
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.core.errors import CheckpointError, ConfigError
from repodojo.inference import kv
from repodojo.inference.architecture import Architecture
from repodojo.inference.attention import Segment, batches, merge, partial, partial_plain
from repodojo.inference.decoder import Decoder, attend_lengths
from repodojo.inference.fast import FastDecoder
from repodojo.inference.kv import Slot, Store
from repodojo.inference.prefixes import Prefixes
from repodojo.inference.sampling import draw, uniforms


def tiny(layout: str = "qwen3", *, tied: bool = True, kv_heads: int = 2) -> Decoder:
    torch.manual_seed(1)
    decoder = Decoder(
        Architecture(layout, 61, 32, 48, 2, 4, kv_heads, 16, tied=tied, qkv_bias=layout == "qwen2", max_positions=256)
    )
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, 0.5 if parameter.ndim == 1 else 0.0, 0.25)
    return decoder


@pytest.mark.parametrize("layout", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_fused_forward_equals_the_decoder(layout: str, tied: bool) -> None:
    decoder = tiny(layout, tied=tied)
    fast = FastDecoder(decoder, dtype=torch.float32, max_context=64)
    lengths = [9, 1, 30]
    ids = torch.randint(0, 61, (40,))
    positions = torch.cat([torch.arange(n) for n in lengths])
    with torch.no_grad():
        want = decoder.hidden(ids, positions, attend_lengths(lengths))
        got = fast.hidden(ids, positions, attend_lengths(lengths))
        torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(fast.logits(got), decoder.logits(want), atol=1e-4, rtol=1e-4)


def test_weights_that_do_not_fit_change_nothing() -> None:
    decoder = tiny()
    fast = FastDecoder(decoder, dtype=torch.float32, max_context=64)
    hidden = torch.randn(3, 32)
    before = fast.logits(hidden)
    other = {name: torch.randn_like(w) for name, w in decoder.state_dict().items()}
    for bad in ({}, other | {"model.norm.weight": torch.ones(31)}, other | {"model.layers.1.mlp.up_proj.weight": None}):
        with pytest.raises(CheckpointError, match=r"weight 'model\."):
            fast.load(bad)
    assert torch.equal(fast.logits(hidden), before)


def test_the_engines_weights_are_not_the_learners() -> None:
    decoder = tiny()
    fast = FastDecoder(decoder, dtype=torch.float32, max_context=64)
    ids, positions, attend = torch.arange(5), torch.arange(5), attend_lengths([5])
    with torch.no_grad():
        before = fast.hidden(ids, positions, attend)
        for parameter in decoder.parameters():
            parameter.zero_()
        assert torch.equal(fast.hidden(ids, positions, attend), before)


def test_a_context_beyond_the_positions_is_refused() -> None:
    with pytest.raises(ConfigError, match="257"):
        FastDecoder(tiny(), dtype=torch.float32, max_context=257)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_kernel_equals_plain_attention(causal: bool, masked: bool) -> None:
    q, k, v = torch.randn(3, 2, 7, 16), torch.randn(3, 2, 7, 16), torch.randn(3, 2, 7, 16)
    mask = torch.where(torch.arange(7) < 5, 0.0, float("-inf")).expand(3, 1, 7, 7) if masked and not causal else None
    for got, want in zip(partial(q, k, v, mask, causal), partial_plain(q, k, v, mask, causal), strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@given(cut=st.integers(1, 19), scale=st.floats(0.1, 8))
@settings(deadline=None, max_examples=30)
def test_parts_merged_equal_the_whole(cut: int, scale: float) -> None:
    q, k, v = torch.randn(2, 2, 3, 16) * scale, torch.randn(2, 2, 20, 16), torch.randn(2, 2, 20, 16)
    parts = [partial(q, k[:, :, s], v[:, :, s]) for s in (slice(0, cut), slice(cut, 20))]
    torch.testing.assert_close(merge(parts[0], parts[1]), partial(q, k, v)[0], atol=1e-4, rtol=1e-4)


def test_merging_with_nothing_changes_nothing() -> None:
    out, lse = torch.randn(2, 2, 3, 16), torch.randn(2, 2, 3)
    assert torch.equal(merge((torch.zeros_like(out), torch.full_like(lse, float("-inf"))), (out, lse)), out)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 30))
def test_prefill_batches_cover_every_token_once_and_in_order(lengths: list[int], size: int) -> None:
    segments = [Segment(Slot(), list(range(n)), None) for n in lengths]
    cut = list(batches(segments, size))
    assert all(sum(len(piece.ids) for piece in batch) <= size for batch in cut)
    for segment in segments:
        pieces = [piece.ids for batch in cut for piece in batch if piece.slot is segment.slot]
        assert [i for piece in pieces for i in piece] == list(segment.ids)


def put(store: Store, slot: Slot, length: int, value: float) -> None:
    arena = store.place(slot, length)
    arena.data[slot.index, :, :, :length] = value
    slot.length = length


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_slots_keep_their_content_wherever_they_move(seed: int) -> None:
    rng, store = random.Random(seed), store_of(2, 1, 4)
    held: dict[Slot, float] = {}
    for step in range(40):
        what = rng.random()
        if what < 0.4 or not held:
            held[slot := Slot()] = float(step + 1)
            put(store, slot, rng.randint(1, 200), held[slot])
        elif what < 0.55:
            store.drop(slot := rng.choice(list(held)))
            del held[slot]
        elif what < 0.7:
            slot = rng.choice(list(held))
            store.place(slot, slot.length + rng.randint(0, 100))
        else:
            arena = rng.choice([slot.arena for slot in held])
            assert arena is not None
            mates = [slot for slot in held if slot.arena is arena]
            chosen = rng.sample(mates, rng.randint(1, len(mates)))
            arena.front(chosen)
            assert {slot.index for slot in chosen} == set(range(len(chosen)))
        for slot, value in held.items():
            assert slot.arena is not None and slot.arena.owners[slot.index] is slot
            assert (slot.arena.data[slot.index, :, :, : slot.length] == value).all()


def test_prefixes_hold_no_more_than_their_limit_and_keep_what_is_in_use() -> None:
    store = store_of(1, 1, 4)
    prefixes = Prefixes(store, limit=3)
    blocks = [prefixes.join([n] * 20) for n in range(6)]
    for block in blocks:
        if prefixes.full():
            prefixes.drop(prefixes.loose([blocks[0]])[0])
        store.place(block.slot, 20)
    assert [block.slot.arena is not None for block in blocks] == [True, False, False, False, True, True]
    assert prefixes.join([2] * 20) is blocks[2]  # the tokens stay known while a conversation begins with them
    assert not prefixes.leave(blocks[1]) and prefixes.join([1] * 20) is not blocks[1]


def test_drawing_follows_the_distribution() -> None:
    logits = torch.tensor([2.0, 0.0, 1.0, float("-inf"), -1.0])
    count = 20000
    u = uniforms((0, 7), 3, count)
    tokens, logprobs = draw(logits.expand(count, -1), [0.7] * count, u)
    want = (logits / 0.7).softmax(-1)
    seen = torch.bincount(torch.tensor(tokens), minlength=5) / count
    assert seen[3] == 0
    assert (seen - want).abs().max() < 4 * math.sqrt(0.25 / count)
    torch.testing.assert_close(torch.tensor(logprobs), want.log()[tokens])


def test_the_ends_of_the_unit_interval_draw_possible_tokens() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]] * 2)
    assert draw(logits, [1.0, 1.0], [0.0, np.nextafter(1, 0) - 1e-6])[0] == [1, 2]


def test_temperature_zero_is_greedy_beside_others() -> None:
    logits = torch.randn(3, 50)
    tokens, logprobs = draw(logits, [0.0, 1.0, 2.0], [0.99, 0.5, 0.5])
    assert tokens[0] == int(logits[0].argmax())
    for row, temperature in enumerate([1.0, 1.0, 2.0]):
        want = (logits[row] / temperature).log_softmax(-1)[tokens[row]]
        assert logprobs[row] == pytest.approx(float(want), abs=1e-5)


def test_uniforms_depend_on_seed_and_position_only() -> None:
    assert uniforms((0, 1), 5, 3) == uniforms((0, 1), 5, 8)[:3]
    drawn = {tuple(uniforms(key, position, 2)) for key in ((0, 1), (0, 2), (1, 1), (0, -1)) for position in (5, 6)}
    assert len(drawn) == 8


def test_an_arena_that_grows_into_space_taken_ahead_copies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(2, 1, 4)
    slots = [Slot() for _ in range(5)]
    for n, slot in enumerate(slots):
        put(store, slot, 10, float(n))
    (arena,) = store.arenas.values()
    assert len(arena.owners) == 8
    where = arena.data.data_ptr()
    arena.resize(64)
    assert arena.data.data_ptr() == where and arena.data.shape[0] == 64
    monkeypatch.setattr(kv, "_zeros", _granting(kv._zeros, slots=200))
    arena.resize(65)
    assert arena.data.shape[0] == len(arena._reserved) == 65
    arena.resize(5)
    assert len(arena._reserved) == 5
    assert [float(arena.data[slot.index, 1, 0, 9, 3]) for slot in slots] == [0.0, 1.0, 2.0, 3.0, 4.0]


def _granting(zeros: Callable[..., torch.Tensor], slots: int) -> Callable[..., torch.Tensor]:
    def limited(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        if shape[0] > slots:
            raise MemoryError
        return zeros(shape, dtype, device)

    return limited
