"""Advantages: goldens, exact arithmetic, and the laws that their formulas imply."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repodojo.algorithms.advantages import ADVANTAGES, dr_grpo, grpo, rloo

GOLDENS = json.loads((Path(__file__).parent.parent / "goldens" / "advantages.json").read_text())
Function = Callable[..., Any]
each = pytest.mark.parametrize("name", sorted(ADVANTAGES))


@st.composite
def ragged(draw: st.DrawFn, smallest: int = 2) -> tuple[list[float], list[int]]:
    """Groups of different sizes, interleaved, with labels that are not 0..K-1."""
    reward = st.floats(-10, 10, width=32) | st.sampled_from([0.0, 1.0])
    rewards: list[float] = []
    group: list[int] = []
    for label in draw(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=5, unique=True)):
        members = draw(st.lists(reward, min_size=smallest, max_size=9))
        rewards += members
        group += [label] * len(members)
    order = draw(st.permutations(range(len(rewards))))
    return [rewards[i] for i in order], [group[i] for i in order]


def exact(name: str, rewards: list[float], group: list[int]) -> list[float]:
    """The formula in rational arithmetic, rounded once."""
    out = []
    for r, k in zip(rewards, group, strict=True):
        members = [Fraction(x) for x, label in zip(rewards, group, strict=True) if label == k]
        n, mean = len(members), sum(members) / len(members)
        if name == "rloo":
            out.append(float(Fraction(r) - (sum(members) - Fraction(r)) / (n - 1)))
        elif name == "dr_grpo":
            out.append(float(Fraction(r) - mean))
        else:
            std = math.sqrt(sum((x - mean) ** 2 for x in members) / (n - 1)) if n > 1 else 0.0
            out.append(float(Fraction(r) - mean) / (std + 1e-6))
    return out


@each
@pytest.mark.parametrize("case", GOLDENS, ids=range(len(GOLDENS)))
def test_goldens(name: str, case: dict[str, Any]) -> None:
    # Goldens are computed without centring first, so rewards near 100 cost them some digits.
    np.testing.assert_allclose(ADVANTAGES[name](case["rewards"], case["group"]), case[name], rtol=1e-9, atol=1e-12)


@each
@given(batch=ragged())
def test_equals_exact_arithmetic(name: str, batch: tuple[list[float], list[int]]) -> None:
    np.testing.assert_allclose(ADVANTAGES[name](*batch), exact(name, *batch), rtol=1e-13, atol=1e-13)


@each
@given(batch=ragged(), seed=st.integers(0, 99))
def test_order_does_not_matter(name: str, batch: tuple[list[float], list[int]], seed: int) -> None:
    rewards, group = (np.array(x) for x in batch)
    order = np.random.default_rng(seed).permutation(len(rewards))
    plain, shuffled = ADVANTAGES[name](rewards, group), ADVANTAGES[name](rewards[order], group[order])
    np.testing.assert_allclose(shuffled, plain[order], rtol=1e-12, atol=1e-12)


@each
@given(batch=ragged(), shift=st.sampled_from([-64.0, -0.5, 4.0, 1024.0]))
def test_a_shift_of_one_group_changes_nothing(name: str, batch: tuple[list[float], list[int]], shift: float) -> None:
    rewards, group = (np.array(x) for x in batch)
    rewards = np.round(rewards, 2)
    moved = np.where(group == group[0], rewards + shift, rewards)
    # Adding the shift rounds the rewards by up to 1e-13, which a tiny spread (up to 0.01 here) magnifies in grpo.
    np.testing.assert_allclose(ADVANTAGES[name](moved, group), ADVANTAGES[name](rewards, group), atol=1e-9)


@given(batch=ragged(), scale=st.sampled_from([0.25, 2.0, 8.0]))
def test_scale(batch: tuple[list[float], list[int]], scale: float) -> None:
    rewards, group = (np.array(x) for x in batch)
    for linear in (dr_grpo, rloo):
        np.testing.assert_array_equal(linear(rewards * scale, group), linear(rewards, group) * scale)
    np.testing.assert_allclose(grpo(rewards * scale, group, eps=1e-300), grpo(rewards, group, eps=1e-300), rtol=1e-9)


@each
@given(batch=ragged())
def test_each_group_sums_to_zero_and_ties_are_equal(name: str, batch: tuple[list[float], list[int]]) -> None:
    rewards, group = (np.array(x) for x in batch)
    out = ADVANTAGES[name](rewards, group)
    for label in set(group.tolist()):
        members = group == label
        assert abs(out[members].sum()) < 1e-9
        for value in set(rewards[members].tolist()):
            assert len(set(out[members & (rewards == value)].tolist())) == 1


@each
@pytest.mark.parametrize("value", [0.1, 1.0, 1e8 / 3])
def test_all_equal_is_exactly_zero(name: str, value: float) -> None:
    assert ADVANTAGES[name]([value] * 7, [3] * 7) == [0.0] * 7


def test_a_singleton_is_zero_or_refused() -> None:
    assert grpo([5.0, 1.0, 0.0], [0, 1, 1])[0] == 0.0
    assert dr_grpo([5.0], [0]) == [0.0]
    with pytest.raises(ValueError, match="1 groups have one member"):
        rloo([5.0, 1.0, 0.0], [0, 1, 1])


@each
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=r"rewards at \[1\] are not finite"):
        ADVANTAGES[name]([0.0, bad, 1.0], [0, 0, 0])


@each
def test_lengths_and_types_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match="one length"):
        ADVANTAGES[name]([0.0, 1.0], [0])
    with pytest.raises(ValueError, match="integers"):
        ADVANTAGES[name]([0.0, 1.0], [0.0, 0.0])


@each
def test_the_answer_is_of_the_same_kind(name: str) -> None:
    rewards, group = [0.0, 1.0, 1.0], [4, 4, 4]
    plain = ADVANTAGES[name](rewards, group)
    assert isinstance(plain, list)
    for dtype in (torch.float32, torch.float64):
        tensor = ADVANTAGES[name](torch.tensor(rewards, dtype=dtype), torch.tensor(group))
        assert tensor.dtype == dtype
        np.testing.assert_allclose(tensor.numpy(), plain, rtol=1e-6)
    array = ADVANTAGES[name](np.array(rewards, dtype=np.float32), np.array(group))
    assert array.dtype == np.float32
    assert ADVANTAGES[name](np.array([0, 1]), [0, 0]).dtype == np.float64
    assert ADVANTAGES[name]([], []) == []
