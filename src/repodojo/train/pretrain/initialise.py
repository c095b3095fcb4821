"""An initialisation in which copying already works: one head finds the previous token, the next layer's copies.

Tiny models spend tens of millions of tokens on growing induction heads (Olsson et al., arXiv 2209.11895). Writing the
circuit into the random start, in the spirit of mimetic initialisation (Trockman and Kolter, arXiv 2305.09828), saves
them. All of it stays trainable; nothing but the starting point differs. `docs/log.md` holds the comparison.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from repodojo.core.errors import ConfigError
from repodojo.inference.architecture import Architecture
from repodojo.inference.decoder import Attention, Decoder, Layer

CONSTANT = 0  # embedding coordinate that is the same for every token, so that a head can look by position alone
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
    own, previous = torch.zeros(width, a.hidden), torch.zeros(width, a.hidden)
    own[:, 1:], previous[:, 1:] = basis[:width], basis[width : 2 * width]
    first, *others = (cast(Layer, layer).self_attn for layer in decoder.model.layers[:3])
    _previous_token_head(first, a, own, previous)
    token = torch.zeros(a.head_dim, a.hidden)
    token[:, 1:] = basis[-a.head_dim :]
    for attention in others:
        _copying_head(attention, a, own, previous)
        attention.v_proj.weight[: a.head_dim] = token
        attention.o_proj.weight[:, : a.head_dim] += 5 * EMBEDDING * token.T


def _previous_token_head(attention: Attention, a: Architecture, own: Tensor, previous: Tensor) -> None:
    """Query and key see only the constant; the key is turned one position on, so that the score peaks at distance 1."""
    half, group = a.head_dim // 2, a.heads // a.kv_heads
    fast = min(8, half)  # high frequencies tell neighbours apart
    angle = 1.0 / a.rope_theta ** (torch.arange(0, a.head_dim, 2, dtype=torch.float32) / a.head_dim)
    q, k = torch.zeros(a.head_dim), torch.zeros(a.head_dim)
    q[:fast] = 1.0
    k[:fast], k[half : half + fast] = angle.cos()[:fast], angle.sin()[:fast]
    for head in range(group):
        rows = slice(head * a.head_dim, (head + 1) * a.head_dim)
        attention.q_proj.weight[rows] *= 0.1
        attention.q_proj.weight[rows, CONSTANT] = 3.0 * q
    attention.k_proj.weight[: a.head_dim] *= 0.1
    attention.k_proj.weight[: a.head_dim, CONSTANT] = 3.0 * k
    attention.q_norm.weight.fill_(2.0)
    attention.k_norm.weight.fill_(2.0)
    attention.v_proj.weight[: own.shape[0]] = own
    attention.o_proj.weight[:, : own.shape[0]] += 3 * EMBEDDING * previous.T


def _copying_head(attention: Attention, a: Architecture, own: Tensor, previous: Tensor) -> None:
    """A query of what is here meets keys of what stood before."""
    half, width = a.head_dim // 2, own.shape[0]
    # Low frequencies hardly turn over a context, so content is compared there: half the pairs, both coordinates.
    slow = torch.cat([torch.arange(half - width // 2, half), torch.arange(2 * half - width // 2, 2 * half)])
    group = a.heads // a.kv_heads
    for head in range(group):
        rows = head * a.head_dim + slow
        attention.q_proj.weight[head * a.head_dim : (head + 1) * a.head_dim] *= 0.05
        attention.q_proj.weight[rows] += own
    attention.k_proj.weight[: a.head_dim] *= 0.05
    attention.k_proj.weight[slow] += previous
    attention.q_norm.weight.fill_(2.0)
    attention.k_norm.weight.fill_(2.0)
