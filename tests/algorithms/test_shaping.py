"""Penalties by their own numbers, and potentials by the law that makes them safe."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.algorithms.entropy import adapt
from repodojo.algorithms.shaping import overlong_penalty, potential, turn_penalty


def test_golubevs_numbers() -> None:
    found = turn_penalty([0, 9, 10, 25, 40], threshold=10, limit=40)
    assert found.tolist() == [0.0, 0.0, 0.0, -0.5, -1.0]
    for wrong in ({"threshold": 40, "limit": 40}, {"threshold": -1, "limit": 40}):
        with pytest.raises(ValueError, match="threshold"):
            turn_penalty([1], **wrong)


def test_dapos_numbers() -> None:
    lengths = [0, 16384, 18432, 20480, 30000]
    assert overlong_penalty(lengths, limit=20480, cache=4096).tolist() == [0.0, 0.0, -0.5, -1.0, -1.0]
    for cache in (0, 20481):
        with pytest.raises(ValueError, match="cache"):
            overlong_penalty([1], limit=20480, cache=cache)


@given(
    turns=st.lists(st.tuples(st.integers(0, 3), st.integers(-8, 8), st.integers(-8, 8)), min_size=1, max_size=20),
    gamma=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
)
def test_a_potential_moves_every_return_by_that_of_the_first_state(
    turns: list[tuple[int, int, int]], gamma: float
) -> None:
    group, rewards, phi = (list(map(float, column)) for column in zip(*turns, strict=True))
    owner = [int(g) for g in group]
    shaped = potential(rewards, owner, potentials=phi, gamma=gamma)
    for trajectory in set(owner):
        rows = [i for i, other in enumerate(owner) if other == trajectory]
        plain, moved = (sum(gamma**k * r[i] for k, i in enumerate(rows)) for r in (rewards, shaped))
        assert moved == pytest.approx(plain - phi[rows[0]], abs=1e-9)


@given(seed=st.integers(0, 500), gamma=st.sampled_from([0.5, 0.9, 1.0]))
def test_a_potential_changes_no_ranking_of_policies(seed: int, gamma: float) -> None:
    """All 27 policies of a random world of three states and three actions, five turns from a common start."""
    rng = random.Random(seed)
    step = {(s, a): (rng.randrange(3), rng.choice([0.0, 0.0, 1.0, -0.5])) for s in range(3) for a in range(3)}
    phi = [rng.uniform(-5, 5) for _ in range(3)]
    values: list[tuple[float, float]] = []
    for policy in itertools.product(range(3), repeat=3):
        states, rewards = [0], []
        for _ in range(5):
            following, reward = step[states[-1], policy[states[-1]]]
            states.append(following)
            rewards.append(reward)
        shaped = potential(rewards, [0] * 5, potentials=[phi[s] for s in states[:-1]], gamma=gamma)
        values.append(tuple(sum(gamma**k * r for k, r in enumerate(x)) for x in (rewards, shaped)))  # type: ignore[arg-type]
    plain, moved = np.array(values).T
    np.testing.assert_allclose(plain - plain[0], moved - moved[0], atol=1e-9)


def test_a_potential_pays_progress_when_it_is_made() -> None:
    assert potential([0.0, 0.0, 1.0], [0, 0, 0], potentials=[0.0, 0.5, 1.0]) == [0.5, 0.5, 0.0]
    with pytest.raises(ValueError, match="potentials"):
        potential([0.0], [0], potentials=[float("nan")])
    with pytest.raises(ValueError, match="gamma"):
        potential([0.0], [0], potentials=[0.0], gamma=2.0)


def test_the_entropy_bonus_rises_below_its_target_and_pays_nothing_above() -> None:
    assert adapt(0.01, 0.2, target=0.3, step=0.005) == pytest.approx((0.015, 0.015))
    assert adapt(0.01, 0.3, target=0.3, step=0.005) == pytest.approx((0.015, 0.015))
    assert adapt(0.01, 0.4, target=0.3, step=0.005) == pytest.approx((0.005, 0.0))
    assert adapt(0.001, 0.4, target=0.3, step=0.005) == (0.0, 0.0)
    with pytest.raises(ValueError, match="step"):
        adapt(0.01, 0.4, target=0.3, step=0.0)
