"""Optimisers and the learning rate over steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from repodojo.core.errors import ConfigError
from repodojo.learner.muon import Muon
from repodojo.learner.policy import Policy


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW for everything, or Muon for the matrices of the blocks and AdamW for the rest.

    learning_rate, weight_decay: AdamW's; decay applies to matrices only
    muon_learning_rate, muon_weight_decay: of the matrices under kind "muon"
    grad_clip: bound on the norm of the whole gradient
    warmup: steps of linear rise;  schedule "cosine" falls to `final` times the peak at `total_steps`
    """

    kind: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    muon_learning_rate: float = 0.02
    muon_weight_decay: float = 0.0
    grad_clip: float = 1.0
    warmup: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    total_steps: int | None = None
    final: float = 0.1

    def __post_init__(self) -> None:
        if (self.schedule == "cosine") != (self.total_steps is not None):
            raise ConfigError(
                "total_steps goes with schedule 'cosine' and only with it", way_out="give both or neither"
            )
        if min(self.learning_rate, self.muon_learning_rate, self.grad_clip) <= 0:
            raise ConfigError("learning rates and grad_clip must be above 0", way_out="correct the optimiser settings")

    def factor(self, step: int) -> float:
        """What the peak learning rate is multiplied with at `step` (counted from 0)."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "constant" or self.total_steps is None:
            return rise
        done = min(max(step - self.warmup, 0) / max(self.total_steps - self.warmup, 1), 1.0)
        return rise * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done)))


def build(decoder: Policy, settings: OptimizerSettings) -> list[torch.optim.Optimizer]:
    """The optimisers of all weights; every group remembers its peak learning rate as `peak`."""
    blocks, others, vectors = _kinds(decoder)
    rest = {"muon": others, "adamw": [*blocks, *others]}[settings.kind]
    groups = [
        {"params": rest, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, settings.learning_rate, betas=settings.betas, eps=settings.eps, fused=True)
    ]
    if settings.kind == "muon":
        optimizers.append(
            Muon(
                blocks,
                settings.muon_learning_rate,
                weight_decay=settings.muon_weight_decay,
                adjust_lr_fn="original",
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def set_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Learning rates of the next step."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor


def retune(optimizers: list[torch.optim.Optimizer], settings: OptimizerSettings) -> None:
    """New peaks and decay for optimisers that `build` made, their moments kept."""
    rates = (settings.learning_rate, settings.muon_learning_rate)
    decays = (settings.weight_decay, settings.muon_weight_decay)
    for optimizer, rate, decay in zip(optimizers, rates, decays, strict=False):
        for place, group in enumerate(optimizer.param_groups):
            group["peak"] = rate
            group["weight_decay"] = 0.0 if place else decay  # vectors come second


def _kinds(decoder: Policy) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Matrices of the blocks, other matrices (embeddings, output), vectors (norms, biases)."""
    blocks: list[Tensor] = []
    others: list[Tensor] = []
    vectors: list[Tensor] = []
    for name, weight in decoder.named_parameters():
        (vectors if weight.ndim < 2 else blocks if ".layers." in name else others).append(weight)
    return blocks, others, vectors
