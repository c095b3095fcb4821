"""`kill -9` at random moments: nothing is done twice, nothing is left out, nothing half-written remains."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from repodojo.train.rundir import RunDir, TaskCursor

CHILD = Path(__file__).parent / "kill_child.py"
TASKS = [f"task-{n}" for n in range(7)]
KILLS = 8


def kill_after(path: Path, steps: int, seconds: float) -> int | None:
    """Let the child take a first step or two, then kill it; its exit status."""
    child = subprocess.Popen([sys.executable, str(CHILD), str(path), str(steps)], stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()  # it is writing now
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    return child.wait()


def test_a_run_killed_again_and_again_is_the_run_that_was_never_killed(tmp_path: Path) -> None:
    path, rng = tmp_path / "run", random.Random(11)
    statuses = [kill_after(path, 100_000, rng.uniform(0, 0.15)) for _ in range(KILLS)]
    assert statuses == [-signal.SIGKILL] * KILLS
    with RunDir.resume(path) as run:  # the dead writer's lock does not stand in the way
        reached = run.state.step
    assert reached >= KILLS  # each child finished at least the step it printed
    subprocess.run([sys.executable, str(CHILD), str(path), str(reached + 3)], check=True, stdout=subprocess.DEVNULL)

    with RunDir.read(path) as run:
        steps = reached + 3
        draws, _ = TaskCursor.over(TASKS, seed=5).take(3 * steps)
        rows = run.query("1 ORDER BY step, rowid")
        assert [(row["id"], row["task_id"]) for row in rows] == [(f"e{d.index}", d.task_id) for d in draws]
        assert [row["step"] for row in rows] == [step for step in range(1, steps + 1) for _ in range(3)]
        assert [line["step"] for line in run.metrics()] == list(range(1, steps + 1))
        latest = run.latest_checkpoint()
        assert latest is not None
        assert (latest / "w").read_text() == "".join(f"{step}," for step in range(1, steps + 1))
        assert all(run.load(row["id"]).turns[0].versions[0] == row["step"] for row in rows[-9:])
    assert sorted(p.name for p in (path / "checkpoints").iterdir()) == sorted(
        f"step-{step}" for step in (steps - 1, steps)
    )
    assert not [p for p in path.iterdir() if p.name.startswith(".")]
