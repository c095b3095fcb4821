"""The decoder's forward pass for generation: fused weights, no gradient, equal to `Decoder.hidden`.

Queries, keys and values come from one product, gate and up from another. The two halves of each rotated pair are
interleaved (rows of the query and key weights are permuted once, which leaves every dot product as it was), so that
a rotation is one complex multiplication.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from repodojo.core.errors import CheckpointError, ConfigError
from repodojo.inference.architecture import Architecture
from repodojo.inference.decoder import Attend, Decoder
from repodojo.inference.rope import tables


@dataclass
class _Layer:
    norm_in: Tensor
    qkv: Tensor
    bias: Tensor | None
    scale: Tensor | None
    out: Tensor
    norm_post: Tensor
    gate_up: Tensor
    down: Tensor


class FastDecoder:
    """Weights of its own (never views of the decoder's), replaced as a whole by `load`."""

    def __init__(
        self, decoder: Decoder, *, dtype: torch.dtype, max_context: int, device: torch.device | None = None
    ) -> None:
        a = self.architecture = decoder.architecture
        if max_context > a.max_positions:
            raise ConfigError(
                f"max_context {max_context} is more than the model's {a.max_positions} positions",
                way_out=f"set it to at most {a.max_positions}",
            )
        self.dtype, self.device = dtype, device or torch.device("cpu")
        self._shapes = {name: tuple(w.shape) for name, w in decoder.state_dict().items()}
        cos, sin = tables(a, max_context)
        half = a.head_dim // 2
        self._turns = torch.complex(cos[:, :half], sin[:, half:]).to(self.device)
        self._layers: list[_Layer] = []
        self.load(decoder.state_dict())

    def load(self, weights: Mapping[str, object]) -> None:
        """Take weights by Hugging Face name; CheckpointError (and nothing changed) where one is missing or unfit."""
        got = self._checked(weights)
        layers = [_fuse(got, f"model.layers.{i}.", self.architecture) for i in range(self.architecture.layers)]
        self._embed = got["model.embed_tokens.weight"].clone()
        self._norm = got["model.norm.weight"].clone()
        self._head = self._embed if self.architecture.tied else got["lm_head.weight"].clone()
        self._layers = layers

    def _checked(self, weights: Mapping[str, object]) -> dict[str, Tensor]:
        got: dict[str, Tensor] = {}
        for name, shape in self._shapes.items():
            w = weights.get(name)
            if not isinstance(w, Tensor) or tuple(w.shape) != shape:
                found = f"shape {tuple(w.shape)}" if isinstance(w, Tensor) else "nothing"
                raise CheckpointError(
                    f"weight '{name}' should have shape {shape}, got {found}", way_out="publish the same model's"
                )
            got[name] = w.detach().to(self.device, self.dtype)
        return got

    def hidden(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """ids [N], positions [N] to the last hidden state [N, hidden], normalised (as `Decoder.hidden`)."""
        a, count = self.architecture, ids.shape[0]
        ids, positions = ids.to(self.device), positions.to(self.device)
        x = F.embedding(ids, self._embed)
        turns = self._turns[positions][:, None]
        rotated_heads = a.heads + a.kv_heads
        for index, w in enumerate(self._layers):
            h = F.linear(F.rms_norm(x, (a.hidden,), w.norm_in, a.eps), w.qkv, w.bias).view(count, -1, a.head_dim)
            qk = h[:, :rotated_heads]
            if w.scale is not None:
                qk = F.rms_norm(qk, (a.head_dim,), None, a.eps) * w.scale
            qk = _turn(qk, turns)
            o = attend(index, qk[:, : a.heads], qk[:, a.heads :], h[:, rotated_heads:])
            x = torch.addmm(x, o.reshape(count, -1), w.out)
            g = F.linear(F.rms_norm(x, (a.hidden,), w.norm_post, a.eps), w.gate_up)
            x = torch.addmm(x, F.silu(g[:, : a.intermediate]).mul_(g[:, a.intermediate :]), w.down)
        return F.rms_norm(x, (a.hidden,), self._norm, a.eps)

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, hidden] to [N, vocabulary] in float32."""
        return F.linear(hidden, self._head).float()


def _turn(x: Tensor, turns: Tensor) -> Tensor:
    """x [N, heads, D] in interleaved pairs, turned by complex `turns` [N, 1, D/2]."""
    pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


def _interleave(w: Tensor, head_dim: int) -> Tensor:
    """Rows (first half, second half) of each head to pairs (first, second); w [heads * D, ...]."""
    return w.view(-1, 2, head_dim // 2, *w.shape[1:]).transpose(1, 2).flatten(0, 2)


def _fuse(w: Mapping[str, Tensor], prefix: str, a: Architecture) -> _Layer:
    attention = prefix + "self_attn."

    def joined(kind: str) -> Tensor:
        q, k, v = (w[f"{attention}{name}_proj.{kind}"] for name in "qkv")
        return torch.cat([_interleave(q, a.head_dim), _interleave(k, a.head_dim), v])

    scale = None
    if a.qk_norm:
        q, k = (_interleave(w[f"{attention}{name}_norm.weight"], a.head_dim) for name in "qk")
        scale = torch.cat([q.expand(a.heads, -1), k.expand(a.kv_heads, -1)])
    gate, up = (w[f"{prefix}mlp.{name}_proj.weight"] for name in ("gate", "up"))
    return _Layer(
        norm_in=w[prefix + "input_layernorm.weight"].clone(),
        qkv=joined("weight"),
        bias=joined("bias") if a.qkv_bias else None,
        scale=scale,
        out=w[attention + "o_proj.weight"].clone().t(),
        norm_post=w[prefix + "post_attention_layernorm.weight"].clone(),
        gate_up=torch.cat([gate, up]),
        down=w[prefix + "mlp.down_proj.weight"].clone().t(),
    )
