"""Advantages: goldens, a plain Python reference, and the laws that their formulas imply."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from goldens import formulas
from repodojo.algorithms import advantages
from repodojo.algorithms.advantages import ADVANTAGES, dr_grpo, gapo, grpo, loop, opo, pass_at_k, reinforce_pp, rloo

pytestmark = pytest.mark.filterwarnings("ignore::repodojo.algorithms.advantages.BinaryRewardWarning")
GOLDENS = json.loads((Path(__file__).parent.parent / "goldens" / "advantages.json").read_text())
Function = Callable[..., Any]


def opo_by_one(rewards: Any, group: Any) -> Any:
    """All lengths alike: whatever the order, which the laws below change."""
    return opo(rewards, group, lengths=np.ones(len(rewards)))


CALLS: dict[str, Function] = {
    **{name: function for name, function in ADVANTAGES.items() if name not in ("opo", "loop")},
    "opo": opo_by_one,
    "gapo_mean": partial(gapo, tau=0.55, centre="mean"),
    "gapo_plain": partial(gapo, tau=0.55, normalise=False),
}
LINEAR = ("dr_grpo", "rloo", "opo", "gapo_plain")
BALANCED = ("grpo", "dr_grpo", "rloo", "opo", "gigpo")  # each group sums to 0
REFERENCE: dict[str, Callable[[list[float]], list[float]]] = {
    "grpo": formulas.grpo,
    "dr_grpo": formulas.dr_grpo,
    "rloo": formulas.rloo,
    "opo": formulas.dr_grpo,
    "pass_at_k": formulas.pass_at_k,
    "gapo": formulas.gapo,
    "gapo_mean": lambda r: formulas.gapo(r, 0.55, "mean"),
    "gapo_plain": lambda r: formulas.gapo(r, 0.55, normalise=False),
    "gigpo": lambda r: [2 * a for a in formulas.grpo(r)],  # one step each, from one state: both parts are grpo
}
each = pytest.mark.parametrize("name", sorted(CALLS))


@st.composite
def ragged(draw: st.DrawFn, smallest: int = 2, coarse: bool = False) -> tuple[list[float], list[int]]:
    """Groups of different sizes, interleaved, odd labels; `coarse` rewards are multiples of 1/64."""
    fine = st.integers(-640, 640).map(lambda n: n / 64) if coarse else st.floats(-10, 10, width=32)
    reward = fine | st.sampled_from([0.0, 1.0])
    rewards: list[float] = []
    group: list[int] = []
    for label in draw(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=5, unique=True)):
        members = draw(st.lists(reward, min_size=smallest, max_size=9))
        rewards += members
        group += [label] * len(members)
    order = draw(st.permutations(range(len(rewards))))
    return [rewards[i] for i in order], [group[i] for i in order]


def reference(name: str, rewards: list[float], group: list[int]) -> list[float]:
    """Each group by itself in plain Python, put back where its members stood."""
    labels = sorted(set(group))
    places = {label: [i for i, k in enumerate(group) if k == label] for label in labels}
    members = [[rewards[i] for i in places[label]] for label in labels]
    found = formulas.reinforce_pp(members) if name == "reinforce_pp" else [REFERENCE[name](m) for m in members]
    out = [0.0] * len(rewards)
    for label, values in zip(labels, found, strict=True):
        for i, value in zip(places[label], values, strict=True):
            out[i] = value
    return out


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"opo", "gigpo"}))
@pytest.mark.parametrize("case", GOLDENS, ids=range(len(GOLDENS)))
def test_goldens(name: str, case: dict[str, Any]) -> None:
    if name in case:  # leave-one-out has none for groups of one
        # Goldens are computed without centring first, so rewards near 100 cost them some digits.
        np.testing.assert_allclose(CALLS[name](case["rewards"], case["group"]), case[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", GOLDENS, ids=range(len(GOLDENS)))
def test_goldens_weighted_by_length(case: dict[str, Any]) -> None:
    found = opo(case["rewards"], case["group"], lengths=case["lengths"])
    np.testing.assert_allclose(found, case["opo"], rtol=1e-9, atol=1e-12)


@each
@settings(max_examples=25)
@given(batch=ragged())
def test_equals_the_plain_reference(name: str, batch: tuple[list[float], list[int]]) -> None:
    # Dividing by a spread of 1e-6 and less magnifies the last bit of the reward's mean (1e-15).
    np.testing.assert_allclose(CALLS[name](*batch), reference(name, *batch), rtol=1e-9, atol=1e-9)


@each
@settings(max_examples=25)
@given(batch=ragged(coarse=True))
def test_equals_the_plain_reference_to_the_last_digits(name: str, batch: tuple[list[float], list[int]]) -> None:
    np.testing.assert_allclose(CALLS[name](*batch), reference(name, *batch), rtol=1e-12, atol=1e-12)


@each
@settings(max_examples=25)
@given(batch=ragged(), seed=st.integers(0, 99))
def test_order_does_not_matter(name: str, batch: tuple[list[float], list[int]], seed: int) -> None:
    rewards, group = (np.array(x) for x in batch)
    order = np.random.default_rng(seed).permutation(len(rewards))
    plain, shuffled = CALLS[name](rewards, group), CALLS[name](rewards[order], group[order])
    np.testing.assert_allclose(shuffled, plain[order], rtol=1e-9, atol=1e-9)


@each
@settings(max_examples=25)
@given(batch=ragged(coarse=True), shift=st.sampled_from([-64.0, -0.5, 4.0, 1024.0]))
def test_a_shift_of_one_group_changes_nothing(name: str, batch: tuple[list[float], list[int]], shift: float) -> None:
    rewards, group = (np.array(x) for x in batch)
    moved = np.where(group == group[0], rewards + shift, rewards)
    np.testing.assert_allclose(CALLS[name](moved, group), CALLS[name](rewards, group), rtol=1e-12, atol=1e-12)


@each
@settings(max_examples=25)
@given(batch=ragged(coarse=True), scale=st.sampled_from([0.25, 2.0, 8.0]))
def test_scale(name: str, batch: tuple[list[float], list[int]], scale: float) -> None:
    rewards, group = (np.array(x) for x in batch)
    if name in LINEAR:
        np.testing.assert_array_equal(CALLS[name](rewards * scale, group), CALLS[name](rewards, group) * scale)
    elif name != "gapo_mean":  # divided by a spread, of which eps is a part
        out = [CALLS[name](rewards * s, group, eps=1e-300) for s in (1.0, scale)]
        np.testing.assert_allclose(*out, rtol=1e-12, atol=1e-12)


@each
@settings(max_examples=25)
@given(batch=ragged(coarse=True))
def test_sums_and_ties(name: str, batch: tuple[list[float], list[int]]) -> None:
    rewards, group = (np.array(x) for x in batch)
    out = CALLS[name](rewards, group)
    if name == "reinforce_pp":
        assert abs(out.sum()) < 1e-9
    for label in set(group.tolist()):
        members = group == label
        assert name not in BALANCED or abs(out[members].sum()) < 1e-9
        for value in set(rewards[members].tolist()):
            assert len(set(out[members & (rewards == value)].tolist())) == 1


@each
@pytest.mark.parametrize("value", [0.1, 1.0, 1e8 / 3])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_all_equal_is_exactly_zero(name: str, value: float, size: int) -> None:
    assert CALLS[name]([value] * size, [3] * size) == [0.0] * size


@each
def test_a_singleton_is_zero_or_refused(name: str) -> None:
    if name == "rloo":
        with pytest.raises(ValueError, match="1 groups have one member"):
            rloo([5.0, 1.0, 0.0], [0, 1, 1])
    else:
        assert CALLS[name]([5.0, 1.0, 0.0], [0, 1, 1])[0] == 0.0
        assert CALLS[name]([5.0], [0]) == [0.0]


@each
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=r"rewards at \[1\] are not finite"):
        CALLS[name]([0.0, bad, 1.0], [0, 0, 0])


@each
def test_lengths_and_types_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match="one length"):
        CALLS[name]([0.0, 1.0], [0])
    with pytest.raises(ValueError, match="integers"):
        CALLS[name]([0.0, 1.0], [0.0, 0.0])


@each
def test_the_answer_is_of_the_same_kind(name: str) -> None:
    rewards, group = [0.0, 1.0, 1.0], [4, 4, 4]
    plain = CALLS[name](rewards, group)
    assert isinstance(plain, list)
    for dtype in (torch.float32, torch.float64):
        tensor = CALLS[name](torch.tensor(rewards, dtype=dtype), torch.tensor(group))
        assert tensor.dtype == dtype
        np.testing.assert_allclose(tensor.numpy(), plain, rtol=1e-6)
    array = CALLS[name](np.array(rewards, dtype=np.float32), np.array(group))
    assert array.dtype == np.float32
    assert CALLS[name](np.array([0, 1]), [0, 0]).dtype == np.float64
    assert CALLS[name]([], []) == []


def test_every_name_is_importable_and_loop_is_rloo() -> None:
    assert loop is rloo
    assert all(getattr(advantages, name) is function for name, function in ADVANTAGES.items())


def test_hard_and_easy_groups_keep_their_scale_in_reinforce_pp() -> None:
    rewards, group = [0.0, 0.1, 0.0, 1.0], [0, 0, 1, 1]
    assert reinforce_pp(rewards, group)[3] == pytest.approx(10 * reinforce_pp(rewards, group)[1])
    assert grpo(rewards, group)[3] == pytest.approx(grpo(rewards, group)[1], rel=1e-4)


def test_only_the_best_is_paid_and_a_tie_is_not() -> None:
    assert pass_at_k([1.0, 0.0, 0.5], [0, 0, 0], eps=0.0) == pytest.approx([1.0, 0.0, 0.0])
    assert pass_at_k([1.0, 1.0, 0.5], [0, 0, 0]) == [0.0, 0.0, 0.0]


def test_lengths_of_opo_are_checked() -> None:
    assert opo([0.0, 1.0], [0, 0], lengths=[1, 3]) == [-0.75, 0.25]
    assert opo([0.0, 1.0], [0, 0], lengths=[1, 1]) == dr_grpo([0.0, 1.0], [0, 0])
    for bad in ([1], [0, 0], [-1, 2], [math.nan, 1]):
        with pytest.raises(ValueError, match="lengths"):
            opo([0.0, 1.0], [0, 0], lengths=bad)
