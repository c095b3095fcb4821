"""The trajectory cache: nothing changes where nothing should, what is drawn is weighed, and a checkpoint holds it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.core.records import Batch, Sample
from repodojo.train.replaying import Cache, signal_of
from repodojo.train.sections import Replay


def samples(*advantages: float, name: str = "g", turns: bool = False) -> tuple[Sample, ...]:
    mask, logprobs = (False, True, True), (0.0, -0.1, -0.2)
    return tuple(
        Sample((1, k, 3), mask, logprobs, a, f"{name}{k}", (0.0, a, 2 * a) if turns else ())
        for k, a in enumerate(advantages)
    )


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=40), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_equal_priorities_and_no_staleness_change_no_bit(advantages: list[float], seed: int) -> None:
    cache = Cache(Replay(capacity=100, oldest=0, sharpness=0.0), seed)
    for step in range(3):
        batch = Batch(samples(*advantages, turns=bool(seed % 2)), step)
        mixed = cache.mix(batch, step)
        assert mixed == batch and all(a is b for a, b in zip(mixed.samples, batch.samples, strict=True))


def test_old_samples_come_again_by_priority_and_the_mean_stays_unbiased() -> None:
    strong, weak = samples(4.0, 4.0, name="old"), samples(0.5, 0.5, name="new")
    sums = {"old": 0.0, "new": 0.0}
    for seed in range(400):
        cache = Cache(Replay(capacity=10, oldest=4, sharpness=1.0, decay=1.0), seed)
        cache.mix(Batch(strong, 0), 0)
        mixed = cache.mix(Batch(weak, 1), 1)
        assert len(mixed.samples) == 2
        for s in mixed.samples:
            sums[s.group_id[:3]] += s.advantage
    # the weighted sum of two draws estimates half the sum over the four that may be drawn
    assert sums["old"] / 400 == pytest.approx(4.0, rel=0.15) and sums["new"] / 400 == pytest.approx(0.5, rel=0.5)


def test_it_is_bounded_by_capacity_and_age_and_survives_a_checkpoint() -> None:
    settings_of = Replay(capacity=3, oldest=2, sharpness=0.6, decay=0.5)
    cache = Cache(settings_of, 0)
    for step in range(5):
        cache.mix(Batch(samples(1.0, -2.0, name=f"s{step}", turns=True), step), step)
    assert cache.figures["replay_kept"] == 3
    again = Cache(settings_of, 0, cache.state())
    batch = Batch(samples(0.3, 0.2), 5)
    assert again.mix(batch, 5) == cache.mix(batch, 5)
    late = Cache(settings_of, 0, cache.state())
    late.mix(Batch(samples(1.0), 50), 50)
    assert late.figures["replay_kept"] == 0 and late.figures["replay_staleness"] == 0
    assert Cache(settings_of, 0).mix(Batch((), 0), 0) == Batch((), 0)


def test_the_signal_is_what_is_trained_on() -> None:
    one, two = samples(-2.0)[0], samples(-2.0, turns=True)[0]
    assert signal_of(one) == 2.0 and signal_of(two) == np.mean([2.0, 4.0])
