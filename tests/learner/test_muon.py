"""Muon in float32: torch's own steps, up to what bfloat16 rounds away."""

from __future__ import annotations

import pytest
import torch

from repodojo.learner import muon


def stepped(kind: type[torch.optim.Optimizer], *, nesterov: bool) -> list[torch.Tensor]:
    """Weights after three steps."""
    drawn = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape, generator=drawn)) for shape in ((8, 24), (24, 8))]
    optimizer = kind(weights, lr=0.1, nesterov=nesterov)  # type: ignore[call-arg]
    for _ in range(3):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=drawn)
        optimizer.step()
    return [weight.detach() for weight in weights]


@pytest.mark.parametrize("nesterov", [True, False])
def test_its_steps_are_torchs(monkeypatch: pytest.MonkeyPatch, nesterov: bool) -> None:
    theirs = stepped(torch.optim.Muon, nesterov=nesterov)
    monkeypatch.setattr(muon, "has_bfloat16", lambda device: False)
    for ours, their in zip(stepped(muon.Muon, nesterov=nesterov), theirs, strict=True):
        assert 0 < (ours - their).abs().max() < 0.01  # of weights near 1, in steps of 0.1
    monkeypatch.setattr(muon, "has_bfloat16", lambda device: True)
    for ours, their in zip(stepped(muon.Muon, nesterov=nesterov), theirs, strict=True):
        assert torch.equal(ours, their)
