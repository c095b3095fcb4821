"""The start of the base: copying works before any training, and what cannot hold it is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from repodojo.core.errors import ConfigError
from repodojo.inference.architecture import Architecture
from repodojo.inference.decoder import Decoder, attend_lengths
from repodojo.train.pretrain.initialise import initialise

SMALL = Architecture("qwen3", 512, hidden=256, intermediate=256, layers=3, heads=4, kv_heads=2, head_dim=64)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing from threads, and on busy cores they lose tenfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def gain(decoder: Decoder, seed: int, length: int = 48) -> float:
    """Median log-probability, over uniform, of the right next token where a random sequence is begun again."""
    vocabulary = decoder.architecture.vocabulary
    generator = torch.Generator().manual_seed(seed)
    once = torch.randperm(vocabulary, generator=generator)[:length]
    ids = torch.cat([once, once[: length // 2]])
    with torch.no_grad():
        logits = decoder.logits(decoder.hidden(ids, torch.arange(len(ids)), attend_lengths([len(ids)])))
    logprobs = logits.log_softmax(-1)
    at = torch.arange(length, len(ids) - 1)
    return float(logprobs[at, ids[at + 1]].median()) + math.log(vocabulary)


@pytest.mark.parametrize("layers", [2, 4])
def test_a_fresh_model_copies(layers: int) -> None:
    a = replace(SMALL, layers=layers)
    copies = [gain(initialise(a, seed), seed) for seed in range(2)]
    plain = [gain(initialise(a, seed, copying=False), seed) for seed in range(2)]
    assert min(copies) > 1.0, copies
    assert max(plain) < 0.3, plain


def test_a_copy_goes_on_with_the_line_that_it_began() -> None:
    a = replace(SMALL, layers=2)
    right = 0
    for seed in range(20):
        decoder, tokens = initialise(a, seed), torch.randperm(512, generator=torch.Generator().manual_seed(seed))
        shared, follows, instead = tokens[:3]
        line, twin = [*tokens[3:5], shared, follows], [*tokens[5:7], shared, instead]
        lines = (line, twin) if seed % 2 else (twin, line)
        ids = torch.stack([*tokens[10:20], *lines[0], *tokens[20:30], *lines[1], *tokens[30:40], *line[:3]])
        with torch.no_grad():
            hidden = decoder.hidden(ids, torch.arange(len(ids)), attend_lengths([len(ids)]))
        logits = decoder.logits(hidden)[-1]
        right += int(logits[follows] > logits[instead])
    assert right >= 18  # a match of one token alone would be right half the time


def test_the_same_seed_gives_the_same_weights() -> None:
    one, same, other = (initialise(SMALL, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
    assert all(torch.isfinite(weight).all() for weight in one.values())


@pytest.mark.parametrize(
    "change", [{"layout": "llama"}, {"layers": 1}, {"tied": False}, {"head_dim": 256}, {"head_dim": 30}]
)
def test_copying_is_refused_where_it_cannot_be_written(change: dict[str, object]) -> None:
    a = replace(SMALL, **change)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="copying needs"):
        initialise(a, 0)
    assert initialise(a, 0, copying=False).architecture == a
