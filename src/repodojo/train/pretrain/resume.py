"""The state of a pretraining run in one file: weights, both optimisers, and how far it is."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from repodojo.core.errors import CheckpointError, RunError
from repodojo.inference.decoder import Decoder


@dataclass(frozen=True)
class At:
    """Steps done, and steps of the whole run as it is planned."""

    step: int
    steps: int


def save(path: Path, decoder: Decoder, optimizers: Sequence[torch.optim.Optimizer], at: At) -> None:
    """Replace the file whole, durable before this returns; RunError where the disk is full."""
    partial = path.with_name(f".{path.name}.partial")
    states = [optimizer.state_dict() for optimizer in optimizers]
    try:
        with partial.open("wb") as file:
            torch.save({"weights": decoder.state_dict(), "optimizers": states, "at": (at.step, at.steps)}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{path}: {error.strerror}", way_out="free some disk and run the command again") from None


def load(path: Path, decoder: Decoder, optimizers: Sequence[torch.optim.Optimizer]) -> At | None:
    """Put the state back; None where none was saved. CheckpointError where the file is damaged."""
    if not path.is_file():
        return None
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        decoder.load_state_dict(state["weights"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        return At(*state["at"])
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"'{path}' cannot be read: {error}", way_out="remove it to train from the start"
        ) from None
