"""The same with real workers and boxes: YaRN switched on between stages, killed at the border and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from repodojo.inference import checkpoint
from repodojo.tasks.store import TaskStore
from repodojo.train.config import load
from repodojo.train.loop import Training, train
from repodojo.train.rundir import RunDir
from tiny_school import SETTINGS

STAGES = """
[[stages]]
name = "short"
rl.recipe = "grpo_pp"
rl.steps = 1
rl.minibatches = 1
rollout.group_size = 2
agent.max_turns = 2

[[stages]]
name = "long"
yarn = 2.0
rl.recipe = "grpo"
rl.steps = 1
rl.minibatches = 2
rl.clip_high = 0.3
rl.learning_rate = 5e-5
rl.groups_per_step = 1
rollout.group_size = 3
agent.max_turns = 3
agent.max_context = 1500
"""


class Killed(Exception):
    """Stands for a kill: whatever was not committed is lost."""


def run_of(path: Path, store: TaskStore, model: Path) -> RunDir:
    names = [f"tasks.store={json.dumps(str(store.path))}", f"model.path={json.dumps(str(model))}"]
    dropped = ("rft.", "rl.steps", "rl.minibatches", "agent.max_turns", "rollout.group")
    settings = [s for s in SETTINGS if not s.startswith(dropped)]
    file = path.with_suffix(".toml")
    file.write_text(STAGES)
    return RunDir.create(path, load(file, [*settings, *names, "run.stages=rl"]))


def stopped_at(monkeypatch: pytest.MonkeyPatch, when: Callable[[str, int, int], bool]) -> None:
    """The loop dies right after the commit of which `when` (stage, step, how many so far) is true."""
    commit, count = Training.commit, [0]

    def deadly(self: Training, stage: str, step: int, **others: object) -> None:
        commit(self, stage, step, **others)  # type: ignore[arg-type]
        count[0] += 1
        if when(stage, step, count[0]):
            raise Killed

    monkeypatch.setattr(Training, "commit", deadly)


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 2])  # after the first stage's last step; after the switch, before a step of the next
def test_a_run_killed_at_the_border_ends_like_one_that_was_not(
    tmp_path: Path, tiny_store: TaskStore, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    whole = run_of(tmp_path / "whole", tiny_store, tiny_model)
    with whole:
        want = checkpoint.read_weights(train(whole))
        lines = whole.metrics()
        ids = [row["id"] for row in whole.query("1 ORDER BY rowid")]
        shapes = {row["id"]: len(whole.load(row["id"]).turns) for row in whole.query("1")}
    rl = [line for line in lines if line["stage"] == "rl"]
    (switch,) = [line for line in lines if line["stage"] == "switch"]
    assert [(line["step"], line["curriculum_stage"]) for line in rl] == [(0, 0), (1, 1)]
    assert switch["mismatch_max"] < 1e-3 and switch["yarn_factor"] == 2.0 and switch["probes"] > 0
    assert switch["shift_max"] > 1e-3  # it is another model at the same weights
    assert all(line["mismatch_max"] < 1e-3 for line in rl)  # and so it is for the workers' engines
    assert all(name.startswith(("rl/short/", "rl/long/")) for name in ids) and len(set(ids)) == len(ids)
    assert max(n for name, n in shapes.items() if name.startswith("rl/short/")) <= 2

    cut = run_of(tmp_path / "cut", tiny_store, tiny_model)
    with monkeypatch.context() as patch, cut, pytest.raises(Killed):
        stopped_at(patch, lambda stage, step, count: count == at)
        train(cut)
    with RunDir.resume(tmp_path / "cut") as again:
        final = train(again)
        assert [row["id"] for row in again.query("1 ORDER BY rowid")] == ids
    assert checkpoint.architecture(final).rope_scaling["factor"] == 2.0
    got = checkpoint.read_weights(final)
    assert all(torch.equal(want[name], got[name]) for name in want)
