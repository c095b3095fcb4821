"""An initialisation in which copying already works: heads fetch earlier tokens, the next layer's copies.

Where a token stands in many places, what stood before it decides, so a copy does not jump to another line. Tiny
models spend tens of millions of tokens on growing induction heads (Olsson et al., arXiv 2209.11895). Writing the
circuit into the random start, in the spirit of mimetic initialisation (Trockman and Kolter, arXiv 2305.09828), saves
them. All of it stays trainable; nothing but the starting point differs. `docs/log.md` holds the comparison.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from repodojo.core.errors import ConfigError
from repodojo.inference.architecture import Architecture
from repodojo.inference.decoder import Attention, Decoder, Layer

CONSTANT = 0  # embedding coordinate that is the same for every token, so that a head can look by position alone
CONTEXT = (1.0, 0.7, 0.5)  # what a match of the last token, of the one before it, ... adds to a copying score
EMBEDDING = 0.05  # standard deviation of the embeddings: what is written next to them has their size


def initialise(architecture: Architecture, seed: int, *, copying: bool = True) -> Decoder:
    """A fresh decoder. ConfigError where `copying` is asked of an architecture that cannot hold the circuit."""
    if copying and not _can_copy(architecture):
        cause = "copying needs Qwen3's layout, tied embeddings, two layers, heads of 4n and narrower than the model"
        raise ConfigError(cause, way_out="change the architecture or set copying to false")
    generator = torch.Generator().manual_seed(seed)
    decoder = Decoder(architecture)
    for name, weight in decoder.named_parameters():
        if weight.dim() == 2:
            scale = EMBEDDING if "embed" in name else weight.shape[1] ** -0.5
            # Blocks begin almost silent: their noise would drown the embeddings, and the copied ones with them.
            scale *= 0.02 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1
            nn.init.normal_(weight, 0.0, scale, generator=generator)
    if copying:
        with torch.no_grad():
            _write_copying(decoder, generator)
    return decoder


def _can_copy(a: Architecture) -> bool:
    return a.qk_norm and a.tied and a.layers >= 2 and a.head_dim % 4 == 0 and a.head_dim < a.hidden


def _write_copying(decoder: Decoder, generator: torch.Generator) -> None:
    a = decoder.architecture
    decoder.model.embed_tokens.weight[:, CONSTANT] = EMBEDDING * math.sqrt(a.hidden) / 2
    basis = torch.linalg.qr(torch.randn(a.hidden - 1, a.hidden - 1, generator=generator))[0]
    width = a.head_dim // 2
    # Where a token's own code stands, and those of the tokens 1, 2, ... before it, as many as find room.
    codes = [torch.zeros(width, a.hidden) for _ in range(min(1 + len(CONTEXT), 1 + a.heads, (a.hidden - 1) // width))]
    for number, code in enumerate(codes):
        code[:, 1:] = basis[number * width : (number + 1) * width]
    first, second = (cast(Layer, layer).self_attn for layer in decoder.model.layers[:2])
    _earlier_token_heads(first, a, codes)
    token = torch.zeros(a.head_dim, a.hidden)
    token[:, 1:] = basis[-a.head_dim :]
    turns = [torch.linalg.qr(torch.randn(width, width, generator=generator))[0] for _ in CONTEXT]
    _copying_head(second, a, codes, turns)
    second.v_proj.weight[: a.head_dim] = token
    # Strong, for it has to outweigh the token that is here, whose embedding lies in the same stream. One layer alone:
    # a second would copy the first one's guesses.
    second.o_proj.weight[:, : a.head_dim] += 40 * EMBEDDING * token.T


def _earlier_token_heads(attention: Attention, a: Architecture, codes: Sequence[Tensor]) -> None:
    """Query and key see only the constant; head i's query is turned i + 1 positions back, where its score peaks."""
    half, group = a.head_dim // 2, a.heads // a.kv_heads
    fast = min(8, half)  # high frequencies tell neighbours apart
    angle = 1.0 / a.rope_theta ** (torch.arange(0, a.head_dim, 2, dtype=torch.float32) / a.head_dim)
    k = torch.zeros(a.head_dim)
    k[:fast] = 1.0
    for head, earlier in enumerate(codes[1:]):
        q = torch.zeros(a.head_dim)
        turn = angle * (head + 1)
        q[:fast], q[half : half + fast] = turn.cos()[:fast], -turn.sin()[:fast]
        rows, shared = _rows(head, a), _rows(head // group, a)
        attention.q_proj.weight[rows] *= 0.1
        attention.q_proj.weight[rows, CONSTANT] = 3.0 * q
        attention.k_proj.weight[shared, CONSTANT] = 3.0 * k
        attention.v_proj.weight[shared][: codes[0].shape[0]] = codes[0]
        columns = slice(head * a.head_dim, head * a.head_dim + codes[0].shape[0])
        attention.o_proj.weight[:, columns] += 3 * EMBEDDING * earlier.T
    for head in range(-(-len(codes[1:]) // group)):
        attention.k_proj.weight[_rows(head, a), 1:] *= 0.1
    attention.q_norm.weight.fill_(2.0)
    attention.k_norm.weight.fill_(2.0)


def _rows(head: int, a: Architecture) -> slice:
    return slice(head * a.head_dim, (head + 1) * a.head_dim)


def _copying_head(attention: Attention, a: Architecture, codes: Sequence[Tensor], turns: Sequence[Tensor]) -> None:
    """A query of the last tokens meets keys of what stood before: the longer the match, the higher the score."""
    half, width = a.head_dim // 2, codes[0].shape[0]
    # Low frequencies hardly turn over a context, so content is compared there: half the pairs, both coordinates.
    slow = torch.cat([torch.arange(half - width // 2, half), torch.arange(2 * half - width // 2, 2 * half)])
    group = a.heads // a.kv_heads
    here, before = torch.zeros_like(codes[0]), torch.zeros_like(codes[0])
    for weight, turn, code, earlier in zip(CONTEXT, turns, codes, codes[1:], strict=False):
        here += weight * turn @ code
        before += weight * turn @ earlier
    for head in range(group):
        attention.q_proj.weight[_rows(head, a)] *= 0.05
        attention.q_proj.weight[head * a.head_dim + slow] += here
    attention.k_proj.weight[: a.head_dim] *= 0.05
    attention.k_proj.weight[slow] += before
    attention.q_norm.weight.fill_(2.0)
    attention.k_norm.weight.fill_(2.0)
