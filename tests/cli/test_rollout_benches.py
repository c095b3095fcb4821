"""The benchmarks of the rollout's own: what they report, and that a leak would show."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    assert len({mark.descriptors for mark in marks[1:]}) == 1 and all(mark.stored_bytes > 0 for mark in marks)


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
