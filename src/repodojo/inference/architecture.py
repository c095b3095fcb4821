"""The three decoder layouts that Hugging Face calls Qwen2, Qwen3 and Llama, as one small description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from repodojo.core.errors import CheckpointError

LAYOUTS = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}


@dataclass(frozen=True)
class Architecture:
    """Sizes of a decoder-only transformer with RMSNorm, rotary positions, grouped-query attention and SwiGLU."""

    layout: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: Mapping[str, Any] = field(default_factory=dict)
    max_positions: int = 4096
    tied: bool = True
    qkv_bias: bool = False

    @property
    def qk_norm(self) -> bool:
        """Qwen3 normalises queries and keys per head."""
        return self.layout == "qwen3"

    def parameters(self) -> int:
        """Number of weights, tied ones once."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        layer += 2 * self.head_dim if self.qk_norm else 0
        layer += self.head_dim * (self.heads + 2 * self.kv_heads) if self.qkv_bias else 0
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layers * layer + embeddings + self.hidden


def from_hf(config: Mapping[str, Any]) -> Architecture:
    """Read a Hugging Face config.json; CheckpointError for what this project cannot run exactly."""
    layout = str(config.get("model_type", ""))
    if layout not in LAYOUTS:
        raise CheckpointError(
            f"the checkpoint has architecture '{layout or 'unknown'}'",
            way_out=f"use a model in one of these layouts: {', '.join(sorted(LAYOUTS))}",
        )
    _refuse_what_would_differ(config)
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta = float(rope.pop("rope_theta", config.get("rope_theta", 10000.0)))
    kind = rope.get("rope_type", rope.get("type", "default"))
    heads = int(config["num_attention_heads"])
    return Architecture(
        layout=layout,
        vocabulary=int(config["vocab_size"]),
        hidden=int(config["hidden_size"]),
        intermediate=int(config["intermediate_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or config["hidden_size"] // heads),
        eps=float(config.get("rms_norm_eps", 1e-6)),
        rope_theta=theta,
        rope_scaling={} if kind == "default" else rope,
        max_positions=int(config.get("max_position_embeddings", 4096)),
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=layout == "qwen2" or bool(config.get("attention_bias", False)),
    )


def _refuse_what_would_differ(config: Mapping[str, Any]) -> None:
    """A silently different forward pass would break token-exactness, so refuse by name."""
    if config.get("hidden_act", "silu") != "silu":
        raise CheckpointError(f"activation '{config['hidden_act']}' is not supported", way_out="use a SwiGLU model")
    if config.get("use_sliding_window"):
        raise CheckpointError("sliding-window attention is not supported", way_out="set use_sliding_window to false")
    if config.get("mlp_bias") or (config.get("attention_bias") and config.get("model_type") != "qwen2"):
        raise CheckpointError("biases outside Qwen2's are not supported", way_out="use a checkpoint without them")


def to_hf(architecture: Architecture) -> dict[str, Any]:
    """The config.json that transformers reads back."""
    a = architecture
    return {
        "architectures": [LAYOUTS[a.layout]],
        "model_type": a.layout,
        "vocab_size": a.vocabulary,
        "hidden_size": a.hidden,
        "intermediate_size": a.intermediate,
        "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads,
        "head_dim": a.head_dim,
        "rms_norm_eps": a.eps,
        "rope_theta": a.rope_theta,
        "rope_scaling": dict(a.rope_scaling) or None,
        "max_position_embeddings": a.max_positions,
        "tie_word_embeddings": a.tied,
        "attention_bias": False,
        "hidden_act": "silu",
        "torch_dtype": "float32",
    }
