"""Any causal language model of transformers under the learner: a pack is one row with positions and a tree mask.

Attention is ours by default (`TreeAttention`, registered with transformers under the name ATTENTION), which reads a
shared prefix once and builds no mask. Where a model brings attention of its own ("mask"), it gets the tree as an
additive mask [1, 1, N, N] instead: as exact, but quadratic in the rows of a pack.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from repodojo.core.errors import ConfigError
from repodojo.inference.architecture import Architecture
from repodojo.inference.decoder import Attend
from repodojo.learner.attention import TreeAttention

ATTENTION = "repodojo_tree"


class TransformersPolicy:
    """A `learner.policy.Policy` around a model of transformers, e.g. AutoModelForCausalLM.from_pretrained(...).

    attention: "tree" is fast and for plain softmax attention; "mask" works with what the model brings. ConfigError
    where either would compute something else than the model does on separate sequences.
    """

    def __init__(self, model: PreTrainedModel, *, attention: Literal["tree", "mask"] = "tree") -> None:
        _check(model, attention)
        self.model, self._attention = model, attention
        self.architecture, self._recompute = _sizes(model), False
        if attention == "tree":
            AttentionInterface.register(ATTENTION, _attend)
            model.set_attn_implementation(ATTENTION)
        model.train()  # transformers checkpoints gradients in this mode only; there is no dropout

    @property
    def recompute(self) -> bool:
        """Whether blocks are computed again in the backward pass."""
        return self._recompute

    @recompute.setter
    def recompute(self, on: bool) -> None:
        new = hasattr(self.model, "activation_checkpointing_enable")  # the name since transformers 5
        name = "activation_checkpointing" if new else "gradient_checkpointing"
        if on:
            how = {"use_reentrant": False, "preserve_rng_state": False}
            getattr(self.model, f"{name}_enable")(how)
        elif self._recompute:
            getattr(self.model, f"{name}_disable")()
        self._recompute = on

    def hidden(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """ids [N], positions [N] to the last hidden state [N, hidden], normalised."""
        how: dict[str, Any] = {ATTENTION: attend}
        if self._attention == "mask":
            if not isinstance(attend, TreeAttention):
                raise TypeError("a mask can be made of a TreeAttention only")
            how = {"attention_mask": attend.additive(self._dtype(), ids.device)}
        out = self.model.base_model(input_ids=ids[None], position_ids=positions[None], use_cache=False, **how)
        return cast(Tensor, out.last_hidden_state[0])

    @property
    def output_weight(self) -> Tensor:
        """[vocabulary, hidden]."""
        return cast(Tensor, self.model.get_output_embeddings().weight)  # type: ignore[no-untyped-call]

    def parameters(self) -> Iterator[nn.Parameter]:
        """As of the model."""
        return self.model.parameters()

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """As of the model."""
        return self.model.named_parameters()

    def state_dict(self) -> dict[str, Any]:
        """Weights by name; a tied output is left out, as in a saved model."""
        tied = self.output_weight is self.model.get_input_embeddings().weight
        return {n: w for n, w in self.model.state_dict().items() if not (tied and n == "lm_head.weight")}

    def save(self, path: Path) -> None:
        """Write the model's folder."""
        self.model.save_pretrained(path)

    def _dtype(self) -> torch.dtype:
        return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else self.output_weight.dtype


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _mask: Tensor | None, **given: Any
) -> tuple[Tensor, None]:
    """transformers' attention interface: [1, heads, N, D] to [1, N, heads, D]."""
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    scale = given.get("scaling")
    if scale is not None and abs(scale * query.shape[-1] ** 0.5 - 1) > 1e-6:
        q = q * (scale * query.shape[-1] ** 0.5)
    return given[ATTENTION](0, q, k, v)[None].to(query.dtype), None


def _check(model: PreTrainedModel, attention: str) -> None:
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise ConfigError(f"the model has layers of kind {', '.join(sorted(kinds))}", way_out="use full attention only")
    if getattr(config, "attention_dropout", 0.0):
        raise ConfigError("the model drops attention by chance", way_out="set its attention_dropout to 0")
    scaled = [n for n in ("logits_scaling", "logit_scale") if getattr(config, n, 1.0) not in (1.0, None)]
    if scaled or getattr(config, "final_logit_softcapping", None):
        raise ConfigError("the model changes its logits after the projection", way_out="use one that does not")
    odd = [n for n in ("attn_logit_softcapping", "attention_sinks") if getattr(config, n, None)]
    if odd and attention == "tree":
        raise ConfigError(f"the model's attention has {odd[0]}", way_out="give attention='mask'")


def _sizes(model: PreTrainedModel) -> Architecture:
    """The sizes that matter to memory."""
    c = model.config
    return Architecture(
        layout=str(c.model_type),
        vocabulary=int(c.vocab_size),
        hidden=int(c.hidden_size),
        intermediate=int(c.intermediate_size),
        layers=int(c.num_hidden_layers),
        heads=int(c.num_attention_heads),
        kv_heads=int(getattr(c, "num_key_value_heads", None) or c.num_attention_heads),
        head_dim=int(getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads),
        tied=bool(getattr(c, "tie_word_embeddings", False)),
    )
