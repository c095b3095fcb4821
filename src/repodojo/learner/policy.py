"""What the learner needs of a model: one forward pass over a flat token axis, and named weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from repodojo.inference.architecture import Architecture
from repodojo.inference.decoder import Attend


class Policy(Protocol):
    """A causal language model. `inference.decoder.Decoder` is one, `learner.hf.TransformersPolicy` another.

    recompute: whether blocks are computed again in the backward pass instead of being kept
    """

    recompute: bool
    architecture: Architecture

    def hidden(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """ids [N], positions [N] to the last hidden state [N, hidden], normalised."""
        ...

    @property
    def output_weight(self) -> Tensor:
        """[vocabulary, hidden]."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def state_dict(self) -> dict[str, Any]:
        """Weights by their Hugging Face names."""
        ...


@runtime_checkable
class Saves(Protocol):
    """A policy that writes its own model folder."""

    def save(self, path: Path) -> None: ...
