"""One decoder for learner and engine: the layers are here, attention is the caller's.

Tokens of all sequences lie in one flat axis N, so nothing is ever padded. How token n may look at others (a packed
batch with shared prefixes, a KV cache) is a function that the caller passes in. Parameter names are Hugging Face's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from repodojo.inference.architecture import Architecture
from repodojo.inference.rope import rotate, stretched, tables

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q [N, heads, D], k [N, kv_heads, D], v [N, kv_heads, D]) -> [N, heads, D]."""


class Norm(nn.Module):
    """RMSNorm over the last axis."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Projections around the caller's attention."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = a.heads, a.kv_heads, a.head_dim
        self.q_proj = nn.Linear(a.hidden, a.heads * a.head_dim, bias=a.qkv_bias)
        self.k_proj = nn.Linear(a.hidden, a.kv_heads * a.head_dim, bias=a.qkv_bias)
        self.v_proj = nn.Linear(a.hidden, a.kv_heads * a.head_dim, bias=a.qkv_bias)
        self.o_proj = nn.Linear(a.heads * a.head_dim, a.hidden, bias=False)
        if a.qk_norm:
            self.q_norm, self.k_norm = Norm(a.head_dim, a.eps), Norm(a.head_dim, a.eps)
        self.normed = a.qk_norm

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [N, hidden] to rotated q [N, heads, D], k and v [N, kv_heads, D]."""
        q = self.q_proj(x).view(-1, self.heads, self.head_dim)
        k = self.k_proj(x).view(-1, self.kv_heads, self.head_dim)
        v = self.v_proj(x).view(-1, self.kv_heads, self.head_dim)
        if self.normed:
            q, k = self.q_norm(q), self.k_norm(k)
        return rotate(q, cos, sin), rotate(k, cos, sin), v


class Feedforward(nn.Module):
    """SwiGLU."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(a.hidden, a.intermediate, bias=False)
        self.up_proj = nn.Linear(a.hidden, a.intermediate, bias=False)
        self.down_proj = nn.Linear(a.intermediate, a.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x)))


class Layer(nn.Module):
    """One block, pre-normalised."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.self_attn = Attention(a)
        self.mlp = Feedforward(a)
        self.input_layernorm = Norm(a.hidden, a.eps)
        self.post_attention_layernorm = Norm(a.hidden, a.eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Callable[..., Tensor]) -> Tensor:
        q, k, v = self.self_attn.project(self.input_layernorm(x), cos, sin)
        x = x + self.self_attn.o_proj(attend(q, k, v).reshape(x.shape[0], -1))
        return x + cast(Tensor, self.mlp(self.post_attention_layernorm(x)))


class Body(nn.Module):
    """Embeddings and blocks (Hugging Face's `model.`)."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(a.vocabulary, a.hidden)
        self.layers = nn.ModuleList(Layer(a) for _ in range(a.layers))
        self.norm = Norm(a.hidden, a.eps)


class Decoder(nn.Module):
    """A causal language model in Qwen2, Qwen3 or Llama layout; `state_dict` keys are those of transformers.

    recompute: keep only each block's input for the backward pass and compute the block again (gradient checkpointing)
    """

    recompute: bool = False
    cos: Tensor
    sin: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.model = Body(architecture)
        if not architecture.tied:
            self.lm_head = nn.Linear(architecture.hidden, architecture.vocabulary, bias=False)
        cos, sin = tables(architecture, architecture.max_positions)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def stretch(self, factor: float) -> None:
        """Switch YaRN on, in place: other rotations, the same weights."""
        self.architecture = stretched(self.architecture, factor)
        cos, sin = tables(self.architecture, self.architecture.max_positions)
        self.cos, self.sin = cos.to(self.cos.device), sin.to(self.sin.device)

    def hidden(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """ids [N], positions [N] to the last hidden state [N, hidden], normalised."""
        x = self.model.embed_tokens(ids)
        cos, sin = self.cos[positions, None].to(x.dtype), self.sin[positions, None].to(x.dtype)
        again = self.recompute and torch.is_grad_enabled()
        for index, layer in enumerate(self.model.layers):
            inner = functools.partial(attend, index)
            # nothing is drawn by chance in a block, so there is no random state to keep
            x = (
                checkpoint(layer, x, cos, sin, inner, use_reentrant=False, preserve_rng_state=False)
                if again
                else layer(x, cos, sin, inner)
            )
        return cast(Tensor, self.model.norm(x))

    @property
    def output_weight(self) -> Tensor:
        """[vocabulary, hidden]: the embeddings where tied."""
        return self.model.embed_tokens.weight if self.architecture.tied else self.lm_head.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, hidden] to [N, vocabulary] in float32."""
        return F.linear(hidden, self.output_weight).float()


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention within one sequence: q [N, heads, D], k and v [N, kv_heads, D] -> [N, heads, D]."""
    o = F.scaled_dot_product_attention(
        q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None], is_causal=True, enable_gqa=True
    )
    return o[0].transpose(0, 1)


def attend_lengths(lengths: list[int]) -> Attend:
    """Attention for several whole sequences laid end to end (a reference that packing is tested against)."""

    def attend(_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = zip(*(torch.split(x, lengths) for x in (q, k, v)), strict=True)
        return torch.cat([causal(*part) for part in parts])

    return attend
