"""Advantages of steps and turns: GiGPO and GAE against sums written out in plain Python."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from goldens import formulas
from repodojo.algorithms.advantages import gae, gigpo, grpo, to_tokens, whiten

Step = tuple[int, int, int, float]  # group, trajectory, state, reward


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    """Steps of several trajectories of several groups, interleaved, those of one in the order of time."""
    number = st.integers(-64, 64).map(lambda n: n / 16)
    queues: list[list[Step]] = []
    for t in range(draw(st.integers(1, 6))):
        group = draw(st.integers(0, 2))
        rewards = draw(st.lists(number, min_size=1, max_size=5))
        queues.append([(group, t * 7 - 3, draw(st.integers(0, 2)), r) for r in rewards])
    out: list[Step] = []
    while left := [queue for queue in queues if queue]:
        out.append(left[draw(st.integers(0, len(left) - 1))].pop(0))
    return out


@settings(max_examples=40)
@given(rows=steps(), gamma=st.sampled_from([0.0, 0.5, 0.95, 1.0]), weight=st.sampled_from([0.0, 1.0, 2.5]))
def test_gigpo_is_the_sum_written_out(rows: list[Step], gamma: float, weight: float) -> None:
    group, trajectory, state, rewards = (list(column) for column in zip(*rows, strict=True))
    found = gigpo(rewards, group, trajectory=trajectory, state=state, gamma=gamma, step_weight=weight)
    places = defaultdict(list)
    for i, k in enumerate(group):
        places[k].append(i)
    for members in places.values():
        plain = [(trajectory[i], state[i], rewards[i]) for i in members]
        wanted = formulas.gigpo(plain, gamma, 1.0, weight)
        np.testing.assert_allclose([found[i] for i in members], wanted, rtol=1e-9, atol=1e-9)


def test_gigpo_credits_the_step_where_ways_part() -> None:
    # Two episodes from one state: one turns right and is paid, one turns wrong; a third state is met once only.
    out = gigpo([0.0, 1.0, 0.0], [0, 0, 0], trajectory=[1, 1, 2], state=["start", "door", "start"], episode_weight=0.0)
    assert out[0] == -out[2] == pytest.approx(grpo([0.95, 0.0], [0, 0])[0])
    assert out[1] == 0.0


@pytest.mark.parametrize(
    ("columns", "cause"),
    [
        ({"trajectory": [0, 0]}, "need each other"),
        ({"state": [0, 0]}, "need each other"),
        ({"trajectory": [0], "state": [0, 0]}, "one length"),
        ({"trajectory": [0, 0], "state": [0, 0], "gamma": 1.5}, "gamma"),
    ],
    ids=str,
)
def test_gigpo_checks_its_columns(columns: dict[str, Any], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        gigpo([0.0, 1.0], [0, 0], **columns)
    with pytest.raises(ValueError, match="two groups"):
        gigpo([0.0, 1.0], [0, 1], trajectory=[5, 5], state=[0, 0])


@settings(max_examples=40)
@given(
    rows=steps(),
    gamma=st.sampled_from([0.0, 0.9, 1.0]),
    lam=st.sampled_from([0.0, 0.95, 1.0]),
    scale=st.sampled_from([0.0, 1.0]),
)
def test_gae_is_the_sum_written_out(rows: list[Step], gamma: float, lam: float, scale: float) -> None:
    _, trajectory, state, rewards = (list(column) for column in zip(*rows, strict=True))
    values = [scale * (s - 0.5) for s in state]
    found = gae(rewards, trajectory, values=values, gamma=gamma, lam=lam)
    for t in set(trajectory):
        members = [i for i, other in enumerate(trajectory) if other == t]
        wanted = formulas.gae([rewards[i] for i in members], [values[i] for i in members], gamma, lam)
        np.testing.assert_allclose([found[i] for i in members], wanted, rtol=1e-12, atol=1e-12)


def test_gae_at_its_ends() -> None:
    rewards, values = [0.0, 0.0, 1.0], [0.3, 0.5, 0.9]
    assert gae(rewards, [4, 4, 4], values=values, lam=1.0) == pytest.approx([0.7, 0.5, 0.1])  # return - V
    assert gae(rewards, [4, 4, 4], values=values, lam=0.0) == pytest.approx([0.2, 0.4, 0.1])  # one step ahead
    cut = gae([0.0], [4], values=[0.5], last_values=[0.8])
    assert cut == pytest.approx([0.3])  # cut off: the critic speaks for the rest
    with pytest.raises(ValueError, match="values"):
        gae(rewards, [4, 4, 4], values=[0.0, math.nan, 0.0])
    with pytest.raises(ValueError, match="lam"):
        gae(rewards, [4, 4, 4], values=values, lam=1.5)


@settings(max_examples=40)
@given(
    values=st.lists(st.integers(-640, 640).map(lambda n: n / 64), max_size=12),
    shift=st.integers(-3, 3),
    scale=st.sampled_from([1.0, 2.0, 8.0]),
)
def test_whitening_is_the_formula_and_forgets_shift_and_scale(values: list[float], shift: int, scale: float) -> None:
    found = whiten(values)
    if len(set(values)) < 2:
        assert found == [0.0] * len(values)
        return
    mean = math.fsum(values) / len(values)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    assert found == pytest.approx([(v - mean) / (std + 1e-6) for v in values], rel=1e-9, abs=1e-12)
    assert whiten([scale * v + shift for v in values]) == pytest.approx(found, rel=1e-3, abs=1e-3)
    with pytest.raises(ValueError, match="finite"):
        whiten([*values, math.nan])


def test_a_turns_advantage_goes_to_its_tokens_and_to_no_observation() -> None:
    turn = [-1, -1, 0, 0, -1, 1]
    assert to_tokens([0.5, -2.0], turn) == [0.0, 0.0, 0.5, 0.5, 0.0, -2.0]
    assert to_tokens(torch.tensor([0.5, -2.0]), torch.tensor(turn)).tolist()[-1] == -2.0
    with pytest.raises(ValueError, match="turn"):
        to_tokens([0.5], [1])
