"""The flat example really trains: the model it writes is another than the one it was given."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import torch

from repodojo.inference import checkpoint
from repodojo.tasks.store import TaskStore

EXAMPLE = Path(__file__).parents[2] / "examples" / "rl_loop.py"


def test_two_steps_on_a_cpu(tmp_path: Path, tiny_store: TaskStore, tiny_model: Path) -> None:
    arguments = ["--store", tiny_store.path, "--model", tiny_model, "--steps", 2, "--out", tmp_path / "out"]
    command = [sys.executable, EXAMPLE, *arguments, "--allow-unisolated"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = re.findall(
        r"^step +(\d+)  solved +([\d.]+)% of 16 .* outages 0 .* ratio\| (\S+) ", done.stdout, re.MULTILINE
    )
    assert [step for step, _, _ in steps] == ["1", "2"]
    assert 0 < float(steps[0][1]) < 100
    assert all(float(difference) < 1e-3 for _, _, difference in steps)  # log-probs of engine and learner agree
    before, after = checkpoint.read_weights(tiny_model), checkpoint.read_weights(tmp_path / "out")
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_person_is_told_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--store", str(tmp_path), "--model", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {tmp_path} holds no tasks")
    assert len(EXAMPLE.read_text().splitlines()) < 280
