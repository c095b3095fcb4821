"""Sweeps: what their files may say, the shipped ones, and a tiny one that is stopped, goes on, and makes one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from repodojo.core.errors import ConfigError
from repodojo.evaluate.tables import read_rows
from repodojo.tasks.store import TaskStore
from repodojo.train.config import Config
from repodojo.train.sweep import read
from repodojo.train.sweeping import Sweeping
from tiny_school import SETTINGS

SWEEPS = Path(__file__).parents[2] / "recipes" / "sweeps"
SHIPPED = sorted(p for p in SWEEPS.glob("*.toml") if not p.stem.endswith("-run"))


def test_every_shipped_sweep_can_be_carried_out() -> None:
    assert [p.stem for p in SHIPPED] == ["grpo-pp", "length-penalty", "outliers", "overlong", "stages"]
    for file in SHIPPED:
        sweep = read(file)
        made: list[Config] = [sweep.configuration(name, 1, ["tasks.store=x"]) for name in sweep.variants]
        assert len(sweep.seeds) == 3 and all(config.run.seed == 1 for config in made), file
        assert len({config.model_dump_json() for config in made}) == len(made), file  # no two variants are one
        assert f"recipes/sweeps/{file.name}" in file.read_text()
    assert len(read(SWEEPS / "outliers.toml").variants) == 16


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('reference = "b"\n[variants]\na = []\n', "reference 'b' is no variant"),
        ('reference = "a"\nsedes = [1]\n[variants]\na = []\n', "sedes"),
        ('reference = "a"\nseeds = [1, 1]\n[variants]\na = []\n', "seed is named twice"),
        ('reference = "a"\nmeasure = ["stage:x"]\n[variants]\na = []\n', "cannot measure"),
        ('reference = "a"\nbaselines = ["nobody"]\n[variants]\na = []\n', "unknown baselines"),
        ('reference = "a"\n[variants]\na = []\n"../b" = []\n', "folder name"),
        ('reference = "a"\n[variants]\na = ["rl.stps=1"]\n', r"variant a: .*rl\.stps"),
        ("reference = 1\n", "reference"),
        ("[variants\n", "not TOML"),
    ],
)
def test_what_a_sweep_cannot_say_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read(tmp_path / "s.toml")


class Stopped(BaseException):
    """Stands for a kill."""


class Watching:
    """Counts what is measured, and dies when a phase's name holds `until`."""

    def __init__(self, until: str = "?") -> None:
        self.until, self.done, self.phases = until, 0, [""]

    def phase(self, name: str, total: int) -> None:
        self.phases.append(name)
        if self.until in name:
            raise Stopped

    def advance(self, done: int = 1, note: str = "") -> None:
        self.done += done

    def metrics(self, stage: str, step: int, values: Any) -> None:
        pass


def test_a_sweep_that_was_stopped_goes_on_and_makes_one_table(
    tmp_path: Path, tiny_store: TaskStore, tiny_model: Path
) -> None:
    given = [s for s in SETTINGS if not s.startswith(("rft.", "rl.steps", "rl.groups", "rl.max_refills", "rollout.gr"))]
    given += ["run.stages=rl", "rl.recipe=grpo", "rl.steps=1", "rl.groups_per_step=1", "rollout.group_size=2"]
    given += ["eval.split=train", "eval.attempts=1", f"tasks.store={tiny_store.path}", f"model.path={tiny_model}"]
    text = f'reference = "a"\nset = {json.dumps(given)}\nmetrics = ["solve_rate"]\n'
    (tmp_path / "s.toml").write_text(text + '[variants]\na = []\nb = ["rl.learning_rate=1e-3"]\n')
    sweep, out = read(tmp_path / "s.toml"), tmp_path / "out"
    with pytest.raises(Stopped):
        Sweeping(sweep, out, Watching("b seed-0: b")).play()  # b is trained and not yet measured
    assert not (out / "results.json").exists()
    again = Watching()
    rows = Sweeping(sweep, out, again).play()
    assert again.done == 2 and not any("reinforcement" in name for name in again.phases)  # only b's measuring was left
    found = json.loads((out / "results.json").read_text())
    assert set(rows) == {"a", "b"} == set(read_rows(out / "results.json")) and not found["errors"]
    (d,) = found["differences"]
    assert (d["better"], d["worse"], d["tasks"]) == ("b", "a", 2) and d["ci"][0] <= d["value"] <= d["ci"][1]
    assert found["by_seed"]["b"].keys() == {"0"} and found["training"]["a"]["rollouts"]["mean"] == 2
    with pytest.raises(ConfigError, match="other settings"):
        Sweeping(sweep, out, Watching(), ("rl.grad_clip=0.5",)).play()
