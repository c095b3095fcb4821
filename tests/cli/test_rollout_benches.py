"""The benchmarks of the rollout's own: what they report, and that a leak would show."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.cli.benches import pipeline, soak
from repodojo.core.protocols import Sandbox
from repodojo.core.records import Environment


def test_all_techniques_beat_the_synchronous_pipeline_and_hangs_are_told_apart() -> None:
    found = pipeline.run(quick=True)
    assert 1 < found["ratio_stratified"] < found["ratio"] < found["ratio_with_hangs"]
    assert found["ratio"] == pytest.approx(found["alone"]["all"], abs=1e-3) and "synchronous" not in found["alone"]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[soak.Soak]:
    monkeypatch.setattr(soak, "GROUPS", 2)
    made = soak.Soak(tmp_path / "trajectories.db")
    yield made
    made.store.close()


def test_a_soak_stores_every_episode_whatever_befalls_its_boxes(small: soak.Soak) -> None:
    marks = asyncio.run(small.play(steps=5))
    assert small.stored == 5 * 2 * soak.GROUP == len(small.store.query())
    assert sum(small.trouble[kind] for kind in ("fails", "hangs", "was killed")) >= 1
    assert small.scheduler.counts["retries"] >= 1 and small.scheduler.in_flight() == small.scheduler.playing() == 0
    assert len({mark.descriptors for mark in marks[1:]}) == 1
    held = [100 <= mark.stored_bytes <= 10_000 for mark in marks[1:]]  # every step by itself, whenever files grow
    assert all(held)


def test_a_leak_of_descriptors_shows(small: soak.Soak, monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[int] = []
    create = small.stage.boxes.create

    async def leaks(environment: Environment) -> Sandbox:
        files.append(os.dup(1))
        return await create(environment)

    monkeypatch.setattr(small.stage.boxes, "create", leaks)
    marks = asyncio.run(small.play(steps=3))
    for file in files:
        os.close(file)
    assert soak._flatness("descriptors", marks[:1], marks[-1:]) < 0.7


def test_growth_is_a_share_of_the_mean_over_the_run_and_noise_has_none() -> None:
    rising, low, high = soak.growth([100 + step / 10 for step in range(200)])
    assert low <= rising <= high and rising == pytest.approx(20 / 110, rel=0.05)
    noise = [100 + step * 37 % 11 for step in range(200)]
    flat, low, high = soak.growth(noise)
    assert low <= 0 <= high and abs(flat) < 0.01 and high < soak.MOST_GROWTH


@given(st.lists(st.floats(1, 100), min_size=2, max_size=80), st.floats(0.5, 4))
def test_growth_does_not_depend_on_the_unit(values: list[float], factor: float) -> None:
    once, again = soak.growth(values), soak.growth([value * factor for value in values])
    assert again == pytest.approx(once, abs=1e-6)


def test_a_curve_has_the_medians_of_each_tenth() -> None:
    marks = [soak.Mark(float(step), 3.0, 1.0, 2.0) for step in range(40)]
    rows = soak.curve(marks)
    assert [row["memory_mb"] for row in rows] == [1.5 + 4 * row for row in range(10)]
    assert rows[-1]["episodes"] == 40 * soak.GROUP * soak.GROUPS
    assert len(soak.curve(marks[:3])) == 3
