"""The learner on models of transformers: a packed tree gives what transformers gives for separate sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from test_steps import ADAMW, gradients, samples
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from repodojo.algorithms.recipes import recipe
from repodojo.core.errors import ConfigError
from repodojo.core.records import Batch
from repodojo.inference import checkpoint
from repodojo.inference.decoder import Decoder
from repodojo.learner import checkpoints
from repodojo.learner.hf import TransformersPolicy
from repodojo.learner.logprobs import packed_logprobs
from repodojo.learner.packing import pack
from repodojo.learner.steps import Learner

Attention = Literal["tree", "mask"]


def model(layout: str = "qwen3", **more: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 40,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
        "pad_token_id": None,
    }
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(layout, **(sizes | more)))


@pytest.mark.parametrize("attention", ["tree", "mask"])
@pytest.mark.parametrize("layout", ["qwen3", "llama", "granite"])
def test_a_packed_tree_equals_separate_sequences(layout: str, attention: Attention) -> None:
    several = samples(groups=3, size=4)
    more = {"attention_multiplier": 0.2} if layout == "granite" else {}  # a scale of its own
    separate, packed = model(layout, **more), TransformersPolicy(model(layout, **more), attention=attention)
    part = pack(several)
    assert part.rows < 0.75 * sum(len(s.token_ids) for s in several)
    mix = torch.linspace(-1, 2, part.target_A.numel())
    got, got_entropy = packed_logprobs(packed, part)
    loss = torch.zeros(())
    for index, s in enumerate(several):
        at = part.offset_A[part.sample_A == index]
        body = separate.base_model(torch.tensor([s.token_ids])).last_hidden_state[0]
        full = torch.log_softmax(body @ separate.get_output_embeddings().weight.T, -1)[at - 1]
        want = full.gather(1, torch.tensor(s.token_ids)[at][:, None])[:, 0]
        here = part.sample_A == index
        torch.testing.assert_close(got[here], want, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(got_entropy[here], -(full.exp() * full).sum(-1), atol=1e-5, rtol=1e-5)
        loss = loss + (mix[here] * want).sum()
    loss.backward()
    (mix * got).sum().backward()
    for (name, a), b in zip(separate.named_parameters(), packed.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        torch.testing.assert_close(b.grad, a.grad, atol=1e-5 * max(float(a.grad.abs().max()), 1.0), rtol=0, msg=name)


@pytest.mark.parametrize("attention", ["tree", "mask"])
@pytest.mark.parametrize("recompute", [False, True])
def test_steps_equal_those_of_the_own_decoder(attention: Attention, recompute: bool, tmp_path: Path) -> None:
    theirs = model()
    theirs.save_pretrained(tmp_path)
    own = Learner(checkpoint.load(tmp_path), optimizer=ADAMW, token_budget=90)
    other = Learner(
        TransformersPolicy(theirs, attention=attention), optimizer=ADAMW, token_budget=90, recompute=recompute
    )
    assert all(m.gradient_checkpointing == recompute for m in theirs.modules() if hasattr(m, "gradient_checkpointing"))
    for step in range(3):
        batch = Batch(tuple(samples(seed=step)), 0)
        a, b = (learner.rl_step(batch, recipe("dapo"), minibatches=2) for learner in (own, other))
        for name in ("loss", "grad_norm", "entropy", "memory_mb") if not recompute else ("loss", "grad_norm"):
            assert b[name] == pytest.approx(a[name], abs=1e-4), name
    torch.testing.assert_close(gradients(other).norm(), gradients(own).norm(), atol=1e-4, rtol=1e-4)
    assert set(own.weights()) == set(other.weights())  # so the engine takes what is published


def test_a_checkpoint_goes_on_exactly(tmp_path: Path) -> None:
    learner = Learner(TransformersPolicy(model()), optimizer=ADAMW, seed=3)
    learner.sft_step(samples())
    checkpoints.save(learner, tmp_path / "a")

    def policy(folder: Path) -> TransformersPolicy:
        return TransformersPolicy(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))

    again, _ = checkpoints.load(tmp_path / "a", policy=policy, optimizer=ADAMW)
    assert again.sft_step(samples(seed=1))["loss"] == learner.sft_step(samples(seed=1))["loss"]
    assert isinstance(checkpoints.load(tmp_path / "a", optimizer=ADAMW)[0].decoder, Decoder)


@pytest.mark.parametrize(
    "more",
    [
        {"attention_dropout": 0.1},
        {"logits_scaling": 3.0},
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    ],
)
def test_what_would_compute_something_else_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        TransformersPolicy(model(**more))
