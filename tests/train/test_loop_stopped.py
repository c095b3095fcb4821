"""`repodojo train` killed or interrupted in the middle and resumed: the run that was never stopped, and no one left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from repodojo.tasks.store import TaskStore
from repodojo.train.rundir import RunDir
from tiny_school import SETTINGS

STEPS = 4


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "repodojo", "train", *map(str, arguments), "--json"]


def fresh(path: Path, store: TaskStore, model: Path) -> list[str]:
    names = {"tasks.store": store.path, "model.path": model, "run.dir": path, "rl.steps": STEPS}
    given = [setting for setting in SETTINGS if not setting.startswith("rl.steps")]
    settings = [*given, *(f"{name}={json.dumps(str(v)) if v != STEPS else v}" for name, v in names.items())]
    return command(*(part for setting in settings for part in ("--set", setting)))


def outcome(path: Path) -> list[tuple[Any, ...]]:
    """Everything that chance and the tasks decided."""
    with RunDir.read(path) as run:
        assert run.state.done
        rows = run.query("1 ORDER BY stage, step, id")
        steps = [(line["stage"], line["step"]) for line in run.metrics()]
        assert len(set(steps)) == len(steps) and len({row["id"] for row in rows}) == len(rows)
        found = [(row["id"], row["task_id"], row["version"], row["reward"]) for row in rows]
        tokens = [run.load(row["id"]).token_ids() for row in rows]
        return [steps, found, tokens, dict(run.state.cursor), run.state.version]  # type: ignore[list-item]


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, by /proc."""
    found, parents = [], [pid]
    while parents:
        below = Path(f"/proc/{parents[0]}/task/{parents.pop(0)}/children")
        children = [int(child) for child in below.read_text().split()] if below.exists() else []
        found += children
        parents += children
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def stop_in_the_middle(path: Path, start: list[str], how: signal.Signals) -> int:
    """Start, wait for the first committed step of RL, stop; returns the exit code when nobody is left."""
    process = subprocess.Popen(start, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    state = path / "state.json"
    while not state.exists() or '"stage": "rl"' not in state.read_text():
        assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
        time.sleep(0.02)
    people = descendants(process.pid)
    assert len(people) >= 2  # a worker, and its fork server or the resource tracker
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.send_signal(how)
    _, said = process.communicate()
    for _ in range(600):
        if not any(map(alive, people)):
            break
        time.sleep(0.1)
    assert not [pid for pid in people if alive(pid)]
    assert b"Traceback" not in said, said.decode()
    return process.returncode


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, tiny_store: TaskStore, tiny_model: Path) -> Path:
    path = tmp_path_factory.mktemp("uninterrupted") / "run"
    done = subprocess.run(fresh(path, tiny_store, tiny_model), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["model"] == str(path / "checkpoints" / f"rl-{STEPS:05d}")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    how: signal.Signals, code: int, tmp_path: Path, uninterrupted: Path, tiny_store: TaskStore, tiny_model: Path
) -> None:
    path = tmp_path / "run"
    assert stop_in_the_middle(path, fresh(path, tiny_store, tiny_model), how) == code
    with RunDir.read(path) as run:
        assert not run.state.done and run.state.step < STEPS
    subprocess.run(command("--resume", path), check=True, capture_output=True)
    assert outcome(path) == outcome(uninterrupted)
