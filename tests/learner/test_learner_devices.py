"""The learner away from the CPU.

Torch's meta device refuses two devices in one operation (indices excepted), forward and backward, so it finds what
stays behind. What a step reads from the device to report it is made up here: there are no values.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_critic import GAE, valued
from test_steps import ADAMW, MUON, decoder, samples
from torch.overrides import TorchFunctionMode

from repodojo.algorithms.recipes import RECIPES, recipe
from repodojo.core.records import Batch
from repodojo.learner.critic import CriticSettings
from repodojo.learner.optim import OptimizerSettings
from repodojo.learner.steps import Learner

FX = importlib.import_module("torch.fx.experimental._config")
META = torch.device("meta")
SCALARS = {torch.Tensor.__float__: 1.0, torch.Tensor.__int__: 1}


class Reads(TorchFunctionMode):
    """Copies to the CPU and reported numbers, made up where the device has none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and isinstance(args[0], torch.Tensor) and args[0].is_meta:
            if func in SCALARS:
                return SCALARS[func]
            if func is torch.Tensor.cpu:
                return torch.ones(args[0].shape, dtype=args[0].dtype)
            if func is torch.unique:  # as many as there could be
                return tuple(torch.empty_like(args[0]) for _ in range(2))
        return func(*args, **(kwargs or {}))


class Unfused(torch.optim.AdamW):
    """The fused step has no kernel for this device."""

    def __init__(self, *args: Any, fused: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)  # which does not know this device
    monkeypatch.setattr(torch.optim, "AdamW", Unfused)
    with FX.patch(meta_nonzero_assume_all_nonzero=True), Reads():
        yield


def on_meta(settings: OptimizerSettings = ADAMW) -> Learner:
    reference = decoder(1).to(META)
    return Learner(decoder().to(META), optimizer=settings, token_budget=60, reference=reference)


def moved(learner: Learner) -> None:
    """Weights, gradients and the optimiser's moments are where the model is."""
    for weight in learner.decoder.parameters():
        assert weight.is_meta and (weight.grad is None or weight.grad.is_meta)
    for optimizer in learner.state_dict()["optimizers"]:
        for moments in optimizer["state"].values():
            assert all(not isinstance(m, torch.Tensor) or m.is_meta or m.ndim == 0 for m in moments.values())


ROWS = [
    *RECIPES.values(),
    recipe("dapo", kl="k3", kl_coef=0.1, entropy_coef=0.01, old_logprobs="learner", correction="tis", dual_clip=3.0),
]


@pytest.mark.parametrize("row", ROWS, ids=[f"{r.name}-{r.kl}" for r in ROWS])
def test_nothing_of_a_step_stays_behind_on_the_cpu(row: Any) -> None:
    learner = on_meta()
    metrics = learner.rl_step(Batch(tuple(samples()), 0), row, minibatches=2)
    assert metrics["tokens"] > 0 and not metrics["skipped"] and learner.step == 2
    moved(learner)


@pytest.mark.parametrize("settings", [ADAMW, MUON], ids=["adamw", "muon"])
def test_nothing_of_fine_tuning_does(settings: OptimizerSettings) -> None:
    learner = on_meta(settings)
    assert not learner.sft_step(samples())["skipped"] and learner.step == 1
    moved(learner)


def test_nothing_of_a_critic_does() -> None:
    learner = on_meta()
    learner.learn_values(CriticSettings(coef=0.5))
    given = [replace(s, advantage=0.5) for s in valued()]
    assert not learner.rl_step(Batch(tuple(given), 0), GAE)["skipped"]
    assert learner.critic is not None and learner.critic.head.weight.is_meta
    moved(learner)


def test_what_stays_behind_is_found() -> None:
    learner = on_meta()
    learner.learn_values(CriticSettings())
    assert learner.critic is not None
    learner.critic.head.to_empty(device="cpu")
    with pytest.raises(RuntimeError, match="device"):
        learner.rl_step(Batch(tuple(valued()), 0), GAE)
