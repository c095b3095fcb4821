"""What a run tells its task set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from repodojo.core.records import Score, Trajectory
from repodojo.tasks import rollouts as histories
from repodojo.tasks.rollouts import Tally
from repodojo.train import config as configuration
from repodojo.train.rollouts import record, record_episodes
from repodojo.train.rundir import RunDir, RunState


def episode(name: str, task: str, value: float | None, policy: str = "model") -> Trajectory:
    return Trajectory(name, task, "g", policy, 0, (), "submit", Score(value))


def test_committed_episodes_with_a_score_are_told_once(tmp_path: Path) -> None:
    store = tmp_path / "s"
    store.mkdir()
    config = configuration.load(None, [f'tasks.store="{store}"', f'run.dir="{tmp_path / "r"}"'], check=False)
    with RunDir.create(tmp_path / "r", config) as run:
        seen = [episode("a", "t-1", 0.0), episode("b", "t-1", 1.0), episode("c", "t-2", None)]
        run.add([*seen, episode("d", "t-1", 1.0, "random-edit")], stage="rl", step=1)
        run.commit(RunState("rl", 1))
        run.add([episode("e", "t-1", 1.0)], stage="rl", step=2)  # not committed: it may never have been
        for _ in range(2):
            record(run)
    found = histories.load(store)
    assert histories.tally(found) == {"t-1": Tally(1, 2)}
    assert histories.tally(found, "random-edit") == {"t-1": Tally(1, 1)}


def test_a_shaped_reward_says_in_its_parts_whether_it_was_solved(tmp_path: Path) -> None:
    store = tmp_path / "s"
    store.mkdir()
    settings = [f'tasks.store="{store}"', "reward.partial={hidden = 0.5}"]
    config = configuration.load(None, settings, check=False)
    with RunDir.create(tmp_path / "r", config) as run:
        solved = replace(episode("a", "t-1", 0.9), score=Score(0.9, parts={"solved": 1.0}))
        run.add([solved, episode("b", "t-1", 0.5)], stage="rl", step=1)
        run.commit(RunState("rl", 1))
        record(run)
    assert histories.tally(histories.load(store)) == {"t-1": Tally(1, 2)}


def test_an_evaluation_measured_again_replaces_itself(tmp_path: Path) -> None:
    for value in (0.0, 1.0):
        record_episodes(tmp_path, "base-0", tmp_path / "model", "model", [episode("a", "t-1", value)])
    assert histories.tally(histories.load(tmp_path)) == {"t-1": Tally(1, 1)}


def test_an_attackers_episodes_say_nothing_of_tasks(tmp_path: Path) -> None:
    config = configuration.load(None, [f'tasks.store="{tmp_path / "s"}"', "attacker.enabled=true"], check=False)
    with RunDir.create(tmp_path / "r", config) as run:
        run.add([episode("a", "t-1", 1.0)], stage="rl", step=1)
        run.commit(RunState("rl", 1))
        assert record(run) == []
