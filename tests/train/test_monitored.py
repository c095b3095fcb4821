"""The monitor in real runs: silent on ordinary episodes, and what it withholds is never learned from."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from repodojo.audit.monitor.monitor import SIGNS, Monitor, Watch
from repodojo.audit.monitor.signs import Sign
from repodojo.cli import main
from repodojo.core.errors import RunError
from repodojo.core.records import Group, Score, Task, ToolCall, ToolResult, Trajectory, Turn
from repodojo.dashboard.report import write_report
from repodojo.inference import checkpoint
from repodojo.rollout.orders import group_orders
from repodojo.rollout.pool import WorkerPool
from repodojo.tasks.store import TaskStore
from repodojo.train import guard
from repodojo.train.config import load
from repodojo.train.loop import train
from repodojo.train.rundir import RunDir, RunState
from repodojo.train.sections import Monitor as Section
from tiny_school import SETTINGS, pool_settings

RL = tuple(s for s in SETTINGS if not s.startswith("rft."))
POLICIES = ("random-edit", "negate-first-if", "tested-search", "explorer")


def create(path: Path, store: TaskStore, model: Path, *others: str) -> RunDir:
    names = [f"tasks.store={json.dumps(str(store.path))}", f"model.path={json.dumps(str(model))}"]
    return RunDir.create(path, load(None, [*names, *others]))


def test_the_settings_name_every_sign() -> None:
    assert set(Section().signs) == set(SIGNS)


def test_no_false_alarm_on_ordinary_episodes(tiny_store: TaskStore, tiny_model: Path) -> None:
    monitor = Monitor(Watch(), tiny_store.tasks())
    ids = [task.id for task in tiny_store.tasks()]
    with WorkerPool(pool_settings(tiny_store, tiny_model), 1) as pool:
        orders = [o for p in POLICIES for o in group_orders(ids, size=4, prefix=p, seed=1, policy=p)]
        seen = list(pool.run([*orders, *group_orders(ids, size=4, prefix="m", seed=1)]))
    assert len(seen) == 40 and {t.score.value for t in seen} == {0.0, 1.0}
    assert [monitor.screen(t) for t in seen] == seen


def test_a_trained_run_is_paid_by_the_formula_and_holds_nothing_in_quarantine(
    tmp_path: Path, tiny_store: TaskStore, tiny_model: Path
) -> None:
    formula = ("reward.weights={size = 0.2, style = 0.1}", "reward.checks=[{command = \"python -c 'import tiny'\"}]")
    with create(tmp_path / "run", tiny_store, tiny_model, *SETTINGS, *formula) as run:
        train(run)
        assert {row["reward"] for row in run.query()} == {0.0, 1.3}  # a sound mend has both process scores whole
        lines = [line for line in run.metrics() if "outages" in line]
        assert len(lines) == 3
        assert all(line["quarantined"] == 0 and line["alarms"] == 0 for line in lines)
        assert any(line.get("part_style") == 1.0 for line in lines) and all("part_size" in line for line in lines[-1:])
        assert guard.entries(run) == []


@pytest.fixture(scope="module")
def forbidden(tmp_path_factory: pytest.TempPathFactory, tiny_store: TaskStore) -> TaskStore:
    """The tiny school where the file to mend is protected: whoever mends it shows the sign `tests`."""
    folder = tmp_path_factory.mktemp("forbidden") / "store"
    shutil.copytree(tiny_store.path, folder, ignore=shutil.ignore_patterns("tasks.jsonl", "manifest.json"))
    store = TaskStore(folder, create=True)
    store.append([replace(t, protected=("tiny/sums.py",)) for t in tiny_store.tasks()], "tiny", {"split": "train"})
    return store


def test_what_is_suspicious_is_withheld_shown_and_released(
    tmp_path: Path, forbidden: TaskStore, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    others = ("run.stages=rl", "rl.steps=1", *(s for s in RL if not s.startswith("rl.steps")))
    with create(path, forbidden, tiny_model, *others) as run:
        final = train(run)
        held = run.query("reward IS NULL")
        (line,) = [line for line in run.metrics() if line["stage"] == "rl"]
        assert held and line["quarantined"] == line["sign_tests"] == len(held) and line["outages"] == 0
        assert line["groups"] == 0  # what is left are zeros: nothing to compare, nothing to learn
        before, after = checkpoint.read_weights(tiny_model), checkpoint.read_weights(final)
        assert all(before[name].equal(after[name]) for name in before)
    assert "Quarantine" in write_report(path).read_text() and "tiny/sums.py" in write_report(path).read_text()
    main_of(["monitor", str(path), "--release", held[0]["id"], "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["released"] == [held[0]["id"]] and len(shown["quarantine"]) == len(held)
    assert [e["id"] for e in shown["quarantine"] if e["released"]] == [held[0]["id"]]
    main_of(["monitor", str(path)])
    assert "released" in capsys.readouterr().out
    with RunDir.resume(path) as run, pytest.raises(RunError, match="not in quarantine"):
        guard.release(run, ["nobody"])
    with RunDir.read(path) as run:
        (freed,) = guard.released_episodes(run, "rl")
        assert freed.id == held[0]["id"] and not freed.score.quarantined and freed.score.value is not None
        watched = guard.Guard(run, forbidden.tasks())
        screened = [watched.screen(freed), watched.screen(replace(freed, task_id=other_task(forbidden, freed)))]
        assert [t.score.quarantined for t in screened] == [False, True]  # one word speaks for one task


def other_task(store: TaskStore, trajectory: Trajectory) -> str:
    return next(task.id for task in store.tasks() if task.id != trajectory.task_id)


def main_of(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


# ---------------------------------------------------------------- steps, without workers


def step(number: int, task: Task, paid: int, *, tests: bool = True) -> list[Trajectory]:
    """Ten episodes of which `paid` were paid."""
    turn = Turn((1,), (2,), (-0.5,), (0,), results=(ToolResult("", tests_run=tests),))
    ids = [f"rl/{number}/{k}" for k in range(10)]
    scores = [Score(float(k < paid)) for k in range(10)]
    return [
        Trajectory(i, task.id, f"rl/{number}", "m", 0, (turn,), "submit", score)
        for i, score in zip(ids, scores, strict=True)
    ]


def play(run: RunDir, watch: guard.Guard, number: int, seen: list[Trajectory]) -> dict[str, float]:
    """What the loop does with a step's episodes."""
    seen = [watch.screen(t) for t in seen]
    seen, (group,) = watch.judge(seen, [Group(f"rl/{number}", seen[0].task_id, tuple(seen))])
    assert list(group.trajectories) == seen
    run.add(seen, stage="rl", step=number)
    values = watch.metrics(seen)
    run.log("rl", number, values)
    run.commit(RunState("rl", number + 1))
    return values


def test_a_jump_is_withheld_stops_the_run_and_goes_on_by_a_persons_word(tmp_path: Path, tiny_store: TaskStore) -> None:
    task = tiny_store.tasks()[0]
    with create(tmp_path / "run", tiny_store, tmp_path) as run:
        watch = guard.Guard(run, tiny_store.tasks())
        for number in range(6):
            assert play(run, watch, number, step(number, task, 2))["quarantined"] == 0
        watch.refuse()
        values = play(run, watch, 6, step(6, task, 9))
        assert (values["quarantined"], values["alarms"], values["sign_jump"]) == (9, 1, 9)
        with pytest.raises(RunError, match=r"jump: mean reward 0\.90 after 0\.20"):
            watch.refuse()
    with RunDir.resume(tmp_path / "run") as run:
        again = guard.Guard(run, tiny_store.tasks())  # what it knew comes back from the metrics
        with pytest.raises(RunError, match="jump"):
            again.refuse()
        assert len(guard.release(run, ["jump"])) == 10
        again.refuse()
        assert play(run, again, 7, step(7, task, 9))["quarantined"] == 0
        assert sum(t.score.solved for t in guard.released_episodes(run, "rl")) == 9
    with RunDir.resume(tmp_path / "run") as run:
        guard.Guard(run, tiny_store.tasks()).refuse()


def test_a_held_out_check_ends_a_jump_or_stops_the_run(tmp_path: Path, tiny_store: TaskStore) -> None:
    task = tiny_store.tasks()[0]
    for name, rate, stops in (("honest", 0.7, False), ("cheat", 0.1, True)):
        with create(tmp_path / name, tiny_store, tmp_path, "rl.eval_every=1") as run:
            watch = guard.Guard(run, tiny_store.tasks())
            for number in range(6):
                play(run, watch, number, step(number, task, 2))
            watch.checked(0.15)
            assert play(run, watch, 6, step(6, task, 9))["quarantined"] == 9
            watch.refuse()  # the check is still to come
            watch.checked(rate)
            if stops:
                with pytest.raises(RunError, match="jump"):
                    watch.refuse()
            else:
                watch.refuse()
                assert play(run, watch, 7, step(7, task, 9))["quarantined"] == 0


def test_a_collapse_withholds_what_was_paid_without_tests(tmp_path: Path, tiny_store: TaskStore) -> None:
    task = tiny_store.tasks()[0]
    with create(tmp_path / "run", tiny_store, tmp_path) as run:
        watch = guard.Guard(run, tiny_store.tasks())
        for number in range(6):
            play(run, watch, number, step(number, task, 5))
        values = play(run, watch, 6, step(6, task, 5, tests=False))
        assert (values["quarantined"], values["sign_collapse"]) == (5, 5)


def test_a_step_of_cheats_alone_stops_the_run_and_a_release_lets_it_go_on(
    tmp_path: Path, tiny_store: TaskStore
) -> None:
    task = tiny_store.tasks()[0]
    look = ToolCall("bash", {"command": "git log"})

    def digging(number: int) -> list[Trajectory]:
        return [replace(t, turns=(replace(t.turns[0], calls=(look,)),)) for t in step(number, task, 4)]

    with create(tmp_path / "run", tiny_store, tmp_path) as run:
        watch = guard.Guard(run, tiny_store.tasks())
        assert play(run, watch, 0, digging(0))["sign_history"] == 10
        with pytest.raises(RunError, match="every reward of this step"):
            watch.refuse()
        assert guard.release(run, ["rl/0/0", "rl/0/0"]) == ["rl/0/0"]
        watch.refuse()
        assert play(run, watch, 1, digging(1))["quarantined"] == 0  # the same look at the same task is allowed now


def test_reporting_only_withholds_nothing_and_off_sees_nothing(tmp_path: Path, tiny_store: TaskStore) -> None:
    task = tiny_store.tasks()[0]
    with create(tmp_path / "told", tiny_store, tmp_path, "monitor.withhold=false") as run:
        watch = guard.Guard(run, tiny_store.tasks())
        for number in range(6):
            play(run, watch, number, step(number, task, 2))
        values = play(run, watch, 6, step(6, task, 9))
        assert (values["quarantined"], values["sign_jump"]) == (0, 9)
        watch.refuse()
        assert len(guard.entries(run)) == 9
    with create(tmp_path / "off", tiny_store, tmp_path, "monitor.enabled=false") as run:
        watch = guard.Guard(run, tiny_store.tasks())
        assert [play(run, watch, number, step(number, task, number)) for number in range(9)] == [{}] * 9


def test_signs_are_told_in_few_words() -> None:
    signs = (*(Sign("tests", f"tests/{n}.py") for n in range(9)), Sign("exit", "os._exit(0)"))
    entry = guard.Entry("rl/0/0/0", "t", "rl", 0, 0.0, signs, True, False)
    assert entry.told(2) == ["tests: tests/0.py, tests/1.py, and 7 more", "exit: os._exit(0)"]
