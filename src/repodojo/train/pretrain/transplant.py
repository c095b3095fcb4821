"""An earlier base as the start of a new one, whatever tokenizer it had: what is spelt alike keeps its embedding."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from repodojo.core.errors import ConfigError
from repodojo.inference import checkpoint
from repodojo.inference.chat import ChatFormat
from repodojo.inference.decoder import Decoder

NOISE = 0.5  # of the mean of a new token's parts: tokens of the same parts, as 12 and 21, must not be the same


def transplant(decoder: Decoder, words: Path, start: Path, alike: Mapping[str, str] = MappingProxyType({})) -> None:
    """Take over the weights of the model folder `start`, in place; `words` is the folder of the decoder's tokenizer.

    A token that `start` does not have begins as the one that `alike` names for it, where it names one, else as the mean
    of the tokens that `start` spells it with. ConfigError where more than the vocabulary differs.
    """
    given = checkpoint.load(start)
    mine = replace(decoder.architecture, vocabulary=given.architecture.vocabulary)
    if mine != given.architecture:
        raise ConfigError(
            f"{start} has another architecture than the base that is to be made",
            way_out="start from a base made by `repodojo pretrain`, or leave --start out",
        )
    weights = given.state_dict()
    tables = {name for name, weight in decoder.named_parameters() if "embed" in name or "lm_head" in name}
    old, new = ChatFormat.load(start).tokenizer, ChatFormat.load(words).tokenizer
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            weight.copy_(rows(weights[name], old, new, alike) if name in tables else weights[name])


def rows(table: Tensor, old: Any, new: Any, alike: Mapping[str, str] = MappingProxyType({})) -> Tensor:
    """Embeddings [new vocabulary, width] from those [old vocabulary, width] of another tokenizer."""
    known = old.get_vocab()
    made = torch.zeros(len(new), table.shape[1])
    for token, at in new.get_vocab().items():
        if (same := alike.get(token, token)) in known:
            made[at] = table[known[same]]
            continue
        text = new.decode([at], clean_up_tokenization_spaces=False)
        parts = old.encode(text, add_special_tokens=False)
        # A number has the same noise as the label of its line: they are looked up by each other.
        generator = torch.Generator().manual_seed(zlib.crc32(text.strip().encode()))
        noise = torch.randn(table.shape[1], generator=generator) * table.std() * NOISE
        made[at] = table[parts].mean(0) + noise if parts else noise
    return made
