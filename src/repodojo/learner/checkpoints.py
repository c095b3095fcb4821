"""A model folder that transformers loads, with the optimiser's state beside the weights; all of it or nothing."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from repodojo.core.errors import CheckpointError
from repodojo.inference import checkpoint
from repodojo.inference.decoder import Decoder
from repodojo.learner.policy import Policy, Saves
from repodojo.learner.steps import Learner

STATE = "learner.pt"


def save(
    learner: Learner, path: Path, *, tokenizer: Path | None = None, extra: Mapping[str, Any] | None = None
) -> None:
    """Write weights, configuration, tokenizer files and optimiser state to the folder `path`.

    Whoever is killed while saving leaves either the old folder (perhaps as `NAME.old`, which `load` finds) or the new
    one. `extra` holds plain values to get back from `load`. CheckpointError for a learner over several processes.
    """
    if learner.ranks.count > 1:
        raise CheckpointError(
            "no process holds the whole state of a learner over several", way_out="save its weights() from one of them"
        )
    new, old = path.with_name(f"{path.name}.new-{os.getpid()}"), path.with_name(f"{path.name}.old")
    try:
        _write(learner.decoder, new, tokenizer)
        with (new / STATE).open("wb") as file:
            torch.save({"learner": learner.state_dict(), "extra": dict(extra or {})}, file)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        new.rename(path)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write(policy: Policy, path: Path, tokenizer: Path | None) -> None:
    if isinstance(policy, Decoder):
        checkpoint.save(policy, path, tokenizer=tokenizer)
    elif isinstance(policy, Saves):
        policy.save(path)
        checkpoint.copy_tokenizer(tokenizer, path)
    else:
        raise CheckpointError(f"a {type(policy).__name__} cannot be saved", way_out="give it a method save(path)")


def load(
    path: Path, *, policy: Callable[[Path], Policy] = checkpoint.load, **learner: Any
) -> tuple[Learner, dict[str, Any]]:
    """The learner as it was saved, and `extra`; keyword arguments are those of `Learner` (settings are not saved).

    `policy` makes the model of a folder (for transformers: TransformersPolicy on from_pretrained).
    CheckpointError where the folder is no learner checkpoint.
    """
    folder = path if path.exists() else path.with_name(f"{path.name}.old")
    if not (folder / STATE).is_file():
        raise CheckpointError(f"no {STATE} in '{path}'", way_out="name a checkpoint that a learner saved")
    found = Learner(policy(folder), **learner)
    try:
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"'{folder / STATE}' cannot be read: {error}", way_out="use an earlier one") from error
    found.load_state_dict(state["learner"])
    return found, dict(state["extra"])
