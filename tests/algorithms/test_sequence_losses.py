"""Losses and corrections of the sheet against plain formulas, and the gradients that set them apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from repodojo.algorithms import corrections as c
from repodojo.algorithms.losses import KL_TERMS, cispo, gspo, topr

GOLDENS = json.loads((Path(__file__).parent.parent / "goldens" / "sequences.json").read_text())
every = pytest.mark.parametrize("case", GOLDENS, ids=range(len(GOLDENS)))


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def columns(case: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The case's sequence beside another one, so that means over sequences could mix them up."""
    new, old, rollout = (double([0.3, *case[name], -0.7]) for name in ("new", "old", "rollout"))
    sample = torch.tensor([9] + [2] * len(case["new"]) + [9])
    return new, old, rollout, torch.full_like(new, case["advantage"]), sample


def own(values: Tensor) -> Tensor:
    return values[1:-1]


def close(found: Tensor, wanted: Any) -> None:
    torch.testing.assert_close(found, double(wanted), rtol=1e-11, atol=1e-12)


@every
def test_losses(case: dict[str, Any]) -> None:
    new, old, _, advantage, sample = columns(case)
    close(own(gspo(new, old, advantage, sample).loss_A), [case["gspo"]] * len(case["new"]))
    close(own(cispo(new, old, advantage, high=0.28).loss_A), case["cispo"])
    close(own(topr(new, old, advantage).loss_A), case["topr"])
    for name, term in KL_TERMS.items():
        close(own(term(new, old)), [row[name] for row in case["kl"]])


@every
def test_corrections(case: dict[str, Any]) -> None:
    new, old, rollout, advantage, sample = columns(case)
    for name in c.CORRECTIONS:
        low, high = (0.9, 1.1) if name == "geometric" else (None, None)
        close(own(c.correction(name, old, rollout, sample, low, high)), case["corrections"][name])
    close(own(c.veto(old, rollout, sample)), case["corrections"]["veto"])
    close(own(c.off_policy_mask(new, old, advantage, sample)), [case["off_policy_mask"]] * len(case["new"]))


def test_the_goldens_meet_every_branch() -> None:
    for name in ("icepop", "mis_token", "mis_sequence", "geometric", "veto"):
        kept = {w == 0.0 for case in GOLDENS for w in case["corrections"][name]}
        assert kept == {True, False}, name
    assert {case["off_policy_mask"] for case in GOLDENS} == {0.0, 1.0}


def gradient(function: Any, ratio: float, advantage: float, *more: Any, **options: Any) -> float:
    logprob = double([math.log(ratio)]).requires_grad_()
    function(logprob, double([0.0]), double([advantage]), *more, **options).loss_A.sum().backward()
    assert logprob.grad is not None
    return float(logprob.grad)


def test_cispo_keeps_the_gradient_that_ppo_cuts_off() -> None:
    assert gradient(cispo, 3.0, 1.0, high=0.28) == pytest.approx(-1.28)
    assert gradient(cispo, 0.1, -1.0, high=0.28) == pytest.approx(0.1)  # no lower clip


def test_topr_tapers_bad_tokens_only() -> None:
    assert gradient(topr, 0.01, 2.0) == pytest.approx(-2.0)
    assert gradient(topr, 0.01, -2.0) == pytest.approx(0.02)
    assert gradient(topr, 5.0, -2.0) == pytest.approx(2.0)


def test_gspo_clips_whole_sequences_and_its_gradient_is_the_mean() -> None:
    one = torch.tensor([0])
    assert gradient(gspo, 1.0005, 1.0, one) == 0.0
    assert gradient(gspo, 1.0003, 1.0, one) == pytest.approx(-1.0003)
    new = double([0.1, -0.1, 0.5]).requires_grad_()
    out = gspo(new, double([0.0, 0.0, 0.0]), double([1.0, 1.0, 1.0]), torch.tensor([0, 0, 1]))
    assert out.clipped_A.tolist() == [False, False, True]  # each token moved a lot, the first sequence not at all
    out.loss_A.sum().backward()
    torch.testing.assert_close(new.grad, double([-1.0, -1.0, 0.0]))


def test_corrections_carry_no_gradient_and_check_their_bounds() -> None:
    old, rollout, sample = double([-0.5, -1.0]).requires_grad_(), double([-0.6, -0.9]), torch.tensor([0, 0])
    for name in c.CORRECTIONS:
        assert not c.correction(name, old, rollout, sample, None, None).requires_grad
    for wrong in (0.0, -1.0):
        for capped in ("tis", "mis_token", "mis_sequence"):
            with pytest.raises(ValueError, match="cap"):
                c.correction(capped, old, rollout, sample, None, wrong)
    with pytest.raises(ValueError, match="between"):
        c.icepop(old, rollout, low=2.0, high=1.0)


def test_equal_policies_need_no_correction() -> None:
    old, sample = double([-0.5, -1.0, -3.0]), torch.tensor([0, 0, 1])
    for name in c.CORRECTIONS:
        assert c.correction(name, old, old, sample, None, None).tolist() == [1.0] * 3
    assert c.veto(old, old, sample).tolist() == [1.0] * 3
    assert c.off_policy_mask(old, old, -torch.ones_like(old), sample).tolist() == [1.0] * 3
