"""The decoder equals transformers, layout by layout, and folders travel both ways."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from repodojo.core.errors import CheckpointError
from repodojo.inference import checkpoint
from repodojo.inference.decoder import attend_lengths

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}


def reference(layout: str, path: Path, **extra: object) -> torch.nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(layout, **(SIZES | extra))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(path)
    return model


@pytest.mark.parametrize("layout", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize("extra", [{}, {"tie_word_embeddings": True}, {"rope_scaling": YARN}], ids=str)
def test_logits_equal_transformers(layout: str, extra: dict[str, object], tmp_path: Path) -> None:
    model = reference(layout, tmp_path / "hf", **extra)
    ours = checkpoint.load(tmp_path / "hf")
    lengths = [7, 1, 90]
    sequences = [torch.randint(0, 97, (n,)) for n in lengths]
    positions = torch.cat([torch.arange(n) for n in lengths])
    with torch.no_grad():
        got = ours.logits(ours.hidden(torch.cat(sequences), positions, attend_lengths(lengths)))
        want = torch.cat([model(s[None]).logits[0] for s in sequences])
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("layout", ["qwen2", "qwen3", "llama"])
def test_what_we_save_transformers_loads(layout: str, tmp_path: Path) -> None:
    model = reference(layout, tmp_path / "hf")
    checkpoint.save(checkpoint.load(tmp_path / "hf"), tmp_path / "ours")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    ids = torch.randint(0, 97, (1, 20))
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, model(ids).logits)


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    with pytest.raises(CheckpointError, match=r"mamba.*llama, qwen2, qwen3"):
        checkpoint.load(tmp_path)


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    reference("qwen3", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(CheckpointError, match=r"lacks weight 'model.layers.2"):
        checkpoint.load(tmp_path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    reference("qwen3", tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        checkpoint.load(tmp_path)


def test_a_save_that_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    reference("qwen3", tmp_path / "hf")
    decoder = checkpoint.load(tmp_path / "hf")
    before = (tmp_path / "hf" / "config.json").read_text()
    with pytest.raises(TypeError):
        checkpoint.save(decoder, tmp_path / "hf", tokenizer=3)  # type: ignore[arg-type]
    assert (tmp_path / "hf" / "config.json").read_text() == before
    assert not list(tmp_path.glob("*tmp*"))
