from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repodojo.core.errors import ConfigError, RunError
from repodojo.core.records import Score, ToolCall, ToolResult, Trajectory, Turn
from repodojo.train.config import Config, load
from repodojo.train.rundir import RunDir, RunState
from repodojo.train.trackers import open_trackers


def episode(name: str, *, task: str = "t", reward: float | None = 1.0) -> Trajectory:
    turn = Turn(
        observation_ids=(1, 2, 3),
        action_ids=(4, 5),
        logprobs=(-0.1, -0.7),
        versions=(3, 4),
        text="run <it>",
        calls=(ToolCall("bash", {"command": "pytest", "n": 1}),),
        results=(ToolResult("1 failed", tests_run=True),),
    )
    score = Score(reward, error="" if reward is not None else "GradingError", parts={"tests": 0.5})
    return Trajectory(name, task, "g1", "rl", 7, (turn, turn), "submit", score, changes={"a.py": "x", "b.py": None})


def make(path: Path) -> RunDir:
    return RunDir.create(path, Config(), {"command": "repodojo train"})


def test_a_trajectory_comes_back_equal_and_can_be_asked_for(tmp_path: Path) -> None:
    with make(tmp_path / "run") as run:
        run.add([episode("a"), episode("b", task="u", reward=None)], stage="rl", step=1)
        assert run.load("a") == episode("a")
        (row,) = run.query("reward > ?", [0.5])
        wanted = {"id": "a", "version": 4, "turns": 2, "tokens": 4, "tests_run": 1, "stage": "rl", "step": 1}
        assert wanted.items() <= row.items()
        assert [r["id"] for r in run.query("reward IS NULL")] == ["b"]


def test_a_run_begun_after_another_goes_on_where_that_one_stands_and_leaves_it_alone(tmp_path: Path) -> None:
    with make(tmp_path / "first") as first:
        first.add([episode("a")], stage="rft", step=0)
        first.log("rft", 0, {"loss": 0.5})
        first.checkpoint("rft", lambda folder: (folder / "weights").write_text("w"))
        first.commit(RunState(stage="rft-done", version=2), checkpoint="rft")
        first.add([episode("b")], stage="rl", step=0)  # without a commit
        with RunDir.create(tmp_path / "second", Config(), after=first) as second:
            assert second.state == first.state and second.load("a") == episode("a")
            assert [row["id"] for row in second.query()] == ["a"] and second.metrics() == first.metrics()
            kept = second.latest_checkpoint()
            assert kept == tmp_path / "second" / "checkpoints" / "rft" and (kept / "weights").read_text() == "w"
            second.add([episode("c")], stage="rl", step=0)
        assert [row["id"] for row in first.query("1 ORDER BY id")] == ["a", "b"]


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    with make(tmp_path / "run") as run:
        run.add([episode("a")], stage="rl", step=1)
        with pytest.raises(RunError, match="UNIQUE"):
            run.add([episode("b"), episode("a")], stage="rl", step=1)
        assert [row["id"] for row in run.query()] == ["a"]
        with pytest.raises(RunError, match="columns are"):
            run.query("colour = 1")
        with pytest.raises(RunError, match="no trajectory"):
            run.load("z")


def test_resume_forgets_what_no_commit_followed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with make(path) as run:
        run.add([episode("a")], stage="rl", step=1)
        run.log("rl", 1, {"reward": 0.5})
        run.checkpoint("one", lambda folder: (folder / "w").write_text("1"))
        run.commit(RunState("rl", 1, rng={"python": [1, 2]}), checkpoint="one")
        run.add([episode("b")], stage="rl", step=2)
        run.log("rl", 2, {"reward": 0.75})
        run.checkpoint("two", lambda folder: (folder / "w").write_text("2"))
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"torn": ')
    (path / "checkpoints" / ".three.partial").mkdir()
    with RunDir.read(path) as seen:  # a reader changes nothing
        assert [line["reward"] for line in seen.metrics()] == [0.5, 0.75]
        with pytest.raises(RunError, match="reading only"):
            seen.log("rl", 1, {})
        with pytest.raises(RunError, match="reading only"):
            seen.add([episode("c")], stage="rl", step=1)
    with RunDir.resume(path) as run:
        assert (run.state.step, run.state.rng) == (1, {"python": [1, 2]})
        assert [row["id"] for row in run.query()] == ["a"]
        assert [line["step"] for line in run.metrics()] == [1]
        assert sorted(os.listdir(path / "checkpoints")) == ["one"]
        assert run.latest_checkpoint() == path / "checkpoints" / "one"
        run.add([episode("b")], stage="rl", step=2)  # the very same step can be done again
        run.checkpoint("two", lambda folder: (folder / "w").write_text("2"))
        run.commit(RunState("rl", 2), checkpoint="two")


def test_prune_keeps_the_newest_and_the_named(tmp_path: Path) -> None:
    with make(tmp_path / "run") as run:
        for name in ("a", "b", "c", "d"):
            folder = run.checkpoint(name, lambda folder: (folder / "w").write_text("w"))
            os.utime(folder, ns=(0, 10**9 * ord(name)))
        run.commit(RunState("rl", 1), checkpoint="b")
        run.prune(1, spare=["a"])
        assert sorted(p.name for p in (run.path / "checkpoints").iterdir()) == ["a", "b", "d"]
        with pytest.raises(RunError, match="no checkpoint"):
            run.commit(RunState("rl", 2), checkpoint="zzz")
        with pytest.raises(RunError, match="exists"):
            run.checkpoint("d", lambda folder: None)


def test_a_checkpoint_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with make(tmp_path / "run") as run:
        with pytest.raises(RunError, match="No space left"):
            run.checkpoint("a", write)
        assert not list((run.path / "checkpoints").iterdir())


def test_create_refuses_what_is_there(tmp_path: Path) -> None:
    make(tmp_path / "run").close()
    with pytest.raises(RunError, match=r"already holds a run.*--resume"):
        make(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="is no run"):
        make(tmp_path / "other")
    with pytest.raises(RunError, match="is no run"):
        RunDir.read(tmp_path / "other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "run"]
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty").close()


def test_a_run_finds_its_tasks_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    RunDir.create(tmp_path / "run", load(None, ["tasks.store=tasks", "model.path=base"])).close()
    monkeypatch.chdir(tmp_path)
    with RunDir.read(tmp_path / "run") as run:
        assert run.config.tasks.store == str(tmp_path / "here" / "tasks")
        assert run.config.model.path == str(tmp_path / "here" / "base")


def test_two_cannot_write_one_run(tmp_path: Path) -> None:
    path = tmp_path / "run"
    code = f"from pathlib import Path; from repodojo.train.rundir import RunDir; RunDir.resume(Path({str(path)!r}))"
    with make(path):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert f"in use by process {os.getpid()}" in other.stderr
        with pytest.raises(RunError, match="already open"):
            RunDir.resume(path)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_state_of_another_version_is_a_clear_error(tmp_path: Path) -> None:
    make(tmp_path / "run").close()
    (tmp_path / "run" / "state.json").write_text(json.dumps({"epoch": 3}))
    with pytest.raises(RunError, match=r"state\.json"):
        RunDir.resume(tmp_path / "run")


def test_tensorboard_gets_what_the_run_gets(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with make(tmp_path / "run") as run:
        trackers = open_trackers(run)
        for step in (1, 2):
            trackers.log("rl", step, {"reward": step / 2})
        trackers.close()
        assert [line["reward"] for line in run.metrics()] == [0.5, 1.0]
        events = EventAccumulator(str(run.path / "tensorboard" / "rl")).Reload()
        assert [(e.step, e.value) for e in events.Scalars("reward")] == [(1, 0.5), (2, 1.0)]


def test_only_the_trackers_that_are_named_write(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", load(None, ["run.trackers=jsonl"])) as run:
        open_trackers(run).log("rl", 1, {"reward": 0.5})
        assert len(run.metrics()) == 1
        assert not (run.path / "tensorboard").exists()
    with RunDir.create(tmp_path / "other", load(None, ["run.trackers=tensorboard"])) as run:
        trackers = open_trackers(run)
        trackers.log("rl", 1, {"reward": 0.5})
        trackers.close()
        assert not run.metrics()
        assert (run.path / "tensorboard" / "rl").is_dir()


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed here")
def test_a_tracker_that_is_not_installed_says_what_to_install(tmp_path: Path) -> None:
    with (
        RunDir.create(tmp_path / "run", load(None, ["run.trackers=jsonl,wandb"])) as run,
        pytest.raises(ConfigError, match=r"pip install 'repodojo\[wandb\]'"),
    ):
        open_trackers(run)


def test_the_configuration_of_a_run_is_the_one_it_was_made_with(tmp_path: Path) -> None:
    config = load(None, ["run.stages=rl", "rl.steps=3"])
    with RunDir.create(tmp_path / "run", config) as run:
        assert run.config == config
