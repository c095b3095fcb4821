"""The example of a weak reward in its smallest form: cheats are paid by it, seen by the monitor, and withheld."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from repodojo.tasks.store import TaskStore
from repodojo.train import guard
from repodojo.train.rundir import RunDir

EXAMPLE = Path(__file__).parents[2] / "examples" / "weak_reward.py"
CHEATS = ("another test runner", "an early exit")


def test_what_a_weak_reward_pays_the_monitor_withholds(tmp_path: Path, tiny_store: TaskStore) -> None:
    arguments = ["--store", tiny_store.path, "--out", tmp_path, "--steps", 1, "--tasks", 2]
    command = [sys.executable, EXAMPLE, *arguments, "--allow-unisolated"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(\w+): .*cheats missed 0, honest accused 0$", done.stdout, re.M) == ["reported", "watched"]
    with RunDir.read(tmp_path / "reported") as run:
        told = [run.load(row["id"]) for row in run.query()]
        cheated = [t for t in told if t.policy in CHEATS]
        assert {t.policy for t in cheated} == set(CHEATS) and len(cheated) < len(told) == 16
        assert {(t.score.value, t.score.parts["sound"]) for t in cheated} == {(1.0, 0.0)}  # paid, and nothing mended
        assert len(guard.entries(run)) == len(cheated)
    with RunDir.read(tmp_path / "watched") as run:
        held = guard.entries(run)
        assert {entry.id for entry in held} == {t.id for t in cheated}  # the first step is the same in both
        assert all(entry.withheld and entry.reward == 1.0 for entry in held)
        (line,) = run.metrics()
        assert line["quarantined"] == len(held) and line["paid"] < 1
    picture = (tmp_path / "curve.svg").read_text()
    assert picture.count("<svg") == 1 and picture.count("<polyline") == 6


def test_it_can_be_read_top_to_bottom() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 280
