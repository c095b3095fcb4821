"""A base that goes on from another: what is spelt alike is kept, what is new begins near its parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from repodojo.core.errors import ConfigError
from repodojo.inference import checkpoint
from repodojo.inference.architecture import Architecture
from repodojo.train.pretrain import tokenizer
from repodojo.train.pretrain.initialise import initialise
from repodojo.train.pretrain.transplant import rows, transplant

SMALL = Architecture("qwen3", 450, hidden=64, intermediate=64, layers=2, heads=2, kv_heads=1, head_dim=32)
OLD = ["def area(width, height): return width * height"] * 20
NEW = [*OLD, *(f"{n} perimeter {n}" for n in range(100))]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An earlier base, and the tokenizer of a new one."""
    home = tmp_path_factory.mktemp("bases")
    tokenizer.save(tokenizer.train(iter(OLD), 450), home / "words")
    decoder = initialise(replace(SMALL, vocabulary=len(words(home / "words"))), 1)
    checkpoint.save(decoder, home / "old", tokenizer=home / "words")
    tokenizer.save(tokenizer.train(iter(NEW), 500), home / "new")
    return home / "old", home / "new"


def words(path: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


def test_weights_go_over_and_embeddings_follow_the_spelling(folders: tuple[Path, Path]) -> None:
    old, new = folders
    decoder = initialise(replace(SMALL, vocabulary=len(words(new))), 7)
    transplant(decoder, new, old)
    before, after = checkpoint.load(old).state_dict(), decoder.state_dict()
    table = next(name for name in after if "embed" in name)
    for name, weight in after.items():
        if name != table and "lm_head" not in name:
            assert torch.equal(weight, before[name]), name
    known, mine = words(old).get_vocab(), words(new).get_vocab()
    assert len(mine) > len(known) and "perimeter" in {token.strip("\u0120") for token in mine}
    for token, at in mine.items():
        if token in known:
            assert torch.equal(after[table][at], before[table][known[token]]), token


def test_new_tokens_of_the_same_parts_differ(folders: tuple[Path, Path]) -> None:
    old, new = (words(path) for path in folders)
    table = torch.randn(len(old), 64, generator=torch.Generator().manual_seed(0))
    made = rows(table, old, new)
    assert torch.equal(made, rows(table, old, new)) and bool(made.isfinite().all())
    fresh = {token: made[at] for token, at in new.get_vocab().items() if token not in old.get_vocab()}
    pairs = [(a, b) for a in fresh for b in fresh if a < b and sorted(a) == sorted(b)]
    assert pairs and all(not torch.allclose(fresh[a], fresh[b], atol=0.01) for a, b in pairs)


def test_another_architecture_is_refused(folders: tuple[Path, Path]) -> None:
    old, new = folders
    decoder = initialise(replace(SMALL, vocabulary=len(words(new)), layers=3), 7)
    with pytest.raises(ConfigError, match="another architecture than the base that is to be made"):
        transplant(decoder, new, old)
