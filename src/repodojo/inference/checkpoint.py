"""Model folders as transformers writes and reads them: config.json, safetensors, tokenizer files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from repodojo.core.errors import CheckpointError
from repodojo.inference.architecture import Architecture, from_hf, to_hf
from repodojo.inference.decoder import Decoder

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def load(path: Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """The decoder in a model folder; CheckpointError says what is missing or does not fit."""
    decoder = Decoder(architecture(path))
    decoder.load_state_dict(_checked(read_weights(path), decoder, path))
    return decoder.to(dtype)


def architecture(path: Path) -> Architecture:
    """What config.json says."""
    config = path / "config.json"
    if not config.is_file():
        raise CheckpointError(f"no config.json in '{path}'", way_out="name a folder that holds a Hugging Face model")
    try:
        return from_hf(json.loads(config.read_text()))
    except (json.JSONDecodeError, KeyError, ValueError) as error:
        raise CheckpointError(f"'{config}' cannot be read: {error!r}", way_out="save the model anew") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a folder, one file or sharded."""
    files = sorted(path.glob("model*.safetensors"))
    if not files:
        raise CheckpointError(f"no model.safetensors in '{path}'", way_out="save the model with save_pretrained")
    weights: dict[str, Tensor] = {}
    for file in files:
        try:
            weights.update(load_file(file))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"'{file}' cannot be read: {error}", way_out="copy or save it anew") from error
    return weights


def save(decoder: Decoder, path: Path, *, tokenizer: Path | None = None, dtype: torch.dtype | None = None) -> None:
    """Write a folder that transformers loads, all of it or nothing; `tokenizer` is a folder to copy its files from."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        config = to_hf(decoder.architecture)
        config["torch_dtype"] = str(dtype or decoder.output_weight.dtype).removeprefix("torch.")
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        weights = {name: w.detach().to(dtype or w.dtype).contiguous() for name, w in decoder.state_dict().items()}
        save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
        copy_tokenizer(tokenizer, temporary)
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def copy_tokenizer(source: Path | None, target: Path) -> None:
    """Copy the tokenizer files that a folder holds; None copies nothing."""
    for name in TOKENIZER_FILES if source is not None else ():
        if source is not None and (source / name).is_file():
            shutil.copy(source / name, target / name)


def _checked(weights: dict[str, Tensor], decoder: Decoder, path: Path) -> dict[str, Tensor]:
    """Names and shapes must match exactly; a tied head that was saved all the same is dropped."""
    if decoder.architecture.tied:
        weights.pop("lm_head.weight", None)
    wanted = {name: tensor.shape for name, tensor in decoder.state_dict().items()}
    for name in sorted(wanted.keys() ^ weights.keys()):
        state = "lacks" if name in wanted else "has an unknown"
        raise CheckpointError(f"'{path}' {state} weight '{name}'", way_out="use an unmodified Qwen2, Qwen3 or Llama")
    for name, shape in wanted.items():
        if weights[name].shape != shape:
            cause = f"weight '{name}' has shape {tuple(weights[name].shape)}, its config.json says {tuple(shape)}"
            raise CheckpointError(f"'{path}': {cause}", way_out="save model and configuration together")
    return weights
