"""Losses: goldens, gradients where the bounds bite, and sums that micro-batching does not change."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repodojo.algorithms.corrections import tis_weight
from repodojo.algorithms.losses import AGGREGATIONS, KL_TERMS, Totals, ppo_clip, sequence_weights
from repodojo.core.errors import ConfigError

GOLDENS = json.loads((Path(__file__).parent.parent / "goldens" / "losses.json").read_text())


def double(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("case", GOLDENS, ids=range(len(GOLDENS)))
def test_goldens(case: dict[str, Any]) -> None:
    owner = [i for i, sequence in enumerate(case["tokens"]) for _ in sequence]
    new, old = (double([pair[k] for sequence in case["tokens"] for pair in sequence]) for k in (0, 1))
    advantages = double(case["advantage"])[owner]
    loss = ppo_clip(new, old, advantages, low=case["low"], high=case["high"], dual=case["dual"]).loss_A
    torch.testing.assert_close(loss, double([x for s in case["loss"] for x in s]), atol=1e-12, rtol=1e-12)
    tokens_S = torch.tensor([len(s) for s in case["tokens"]])
    for mode, wanted in case["aggregated"].items():
        l_max = 16.0 if mode.endswith("norm") else None
        weights = sequence_weights(mode, tokens_S, Totals.of(tokens_S), l_max=l_max)
        assert float((loss * weights[owner]).sum()) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("advantage", "ratio", "moves"),
    [
        (1, 1.27, True),
        (1, 1.29, False),
        (1, 0.5, True),
        (-1, 0.81, True),
        (-1, 0.79, False),
        (-1, 2.9, True),
        (-1, 3.1, False),
    ],
)
def test_where_the_gradient_stops(advantage: float, ratio: float, moves: bool) -> None:
    logprob = double([math.log(ratio)]).requires_grad_()
    out = ppo_clip(logprob, double([0.0]), double([advantage]), low=0.2, high=0.28, dual=3.0)
    out.loss_A.sum().backward()
    assert logprob.grad is not None
    assert (logprob.grad.item() != 0) is moves
    assert out.clipped_A.item() is not moves


def test_a_huge_log_ratio_stays_finite() -> None:
    out = ppo_clip(torch.tensor([0.0, -1000.0]), torch.tensor([-1000.0, 0.0]), torch.tensor([-1.0, -1.0]))
    assert torch.isfinite(out.loss_A).all()


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=8).filter(any),
    mode=st.sampled_from(AGGREGATIONS),
    cuts=st.lists(st.integers(0, 8), max_size=3),
    count_masked=st.booleans(),
)
def test_micro_batches_add_up(lengths: list[int], mode: Any, cuts: list[int], count_masked: bool) -> None:
    l_max = 10.0 if mode == "seq-mean-token-sum-norm" else None
    tokens = torch.tensor(lengths)
    losses = [torch.linspace(-1, 2, n, dtype=torch.float64) + i for i, n in enumerate(lengths)]
    totals = Totals.of(tokens, count_masked=count_masked)
    whole = sum(
        float(w * x.sum()) for w, x in zip(sequence_weights(mode, tokens, totals, l_max=l_max), losses, strict=True)
    )
    bounds = sorted({0, len(lengths), *(min(c, len(lengths)) for c in cuts)})
    spans = [slice(a, b) for a, b in itertools.pairwise(bounds)]
    summed = Totals(0, 0)
    for span in spans:
        summed += Totals.of(tokens[span], count_masked=count_masked)
    assert summed == totals
    parts = 0.0
    for span in spans:
        weights = sequence_weights(mode, tokens[span], summed, l_max=l_max)
        parts += sum(float(w * x.sum()) for w, x in zip(weights, losses[span], strict=True))
    assert parts == pytest.approx(whole, abs=1e-9)


def test_a_fully_masked_sequence_counts_only_on_request() -> None:
    tokens = torch.tensor([4, 0])
    for count_masked, wanted in ((False, 1.0), (True, 0.5)):
        totals = Totals.of(tokens, count_masked=count_masked)
        assert sequence_weights("seq-mean-token-sum", tokens, totals)[0] == wanted


def test_the_length_norm_needs_its_constant() -> None:
    with pytest.raises(ConfigError, match="lacks l_max"):
        sequence_weights("seq-mean-token-sum-norm", torch.tensor([1]), Totals(1, 1))


@given(p=st.floats(0.05, 0.95), q=st.floats(0.05, 0.95))
def test_kl_terms_in_expectation(p: float, q: float) -> None:
    pi, ref = double([p, 1 - p]), double([q, 1 - q])
    kl = float((pi * (pi / ref).log()).sum())
    mean = {name: float((pi * term(pi.log(), ref.log())).sum()) for name, term in KL_TERMS.items()}
    assert mean["k1"] == pytest.approx(kl, abs=1e-12)
    assert mean["k3"] == pytest.approx(kl, abs=1e-12)
    assert mean["k2"] == pytest.approx(float((pi * (pi / ref).log() ** 2).sum()) / 2)
    assert (KL_TERMS["k3"](pi.log(), ref.log()) >= -1e-15).all()


def test_tis_truncates_and_carries_no_gradient() -> None:
    old = torch.tensor([0.0, 0.0, -1.0], requires_grad=True)
    weight = tis_weight(old, torch.tensor([0.0, -5.0, 0.0]), cap=2.0)
    torch.testing.assert_close(weight, torch.tensor([1.0, 2.0, math.exp(-1.0)]))
    assert not weight.requires_grad
    with pytest.raises(ValueError, match="cap"):
        tis_weight(old, old, cap=0.0)
