"""A miniature of the training loop, made to be killed: `python kill_child.py RUN STEPS`."""

from __future__ import annotations

import sys
from pathlib import Path

from repodojo.core.records import Score, Trajectory, Turn
from repodojo.train.config import Config
from repodojo.train.rundir import RunDir, RunState, TaskCursor, is_run

TASKS = [f"task-{n}" for n in range(7)]


def main(path: Path, steps: int) -> None:
    run = RunDir.resume(path) if is_run(path) else RunDir.create(path, Config())
    state = run.state
    cursor = TaskCursor.restore(TASKS, state.cursor) if state.cursor else TaskCursor.over(TASKS, seed=5)
    weights = (run.latest_checkpoint() / "w").read_text() if run.latest_checkpoint() else ""
    in_flight = ()
    while state.step < steps:
        step = state.step + 1
        ahead, cursor = cursor.take(3 + 2 - len(in_flight))  # two draws run ahead of the step, as asynchronous ones do
        draws, in_flight = (*in_flight, *ahead)[:3], (*in_flight, *ahead)[3:]
        for draw in draws:
            turn = Turn((1,) * 200, (2,) * 50, (-0.5,) * 50, (step,) * 50)
            run.add(
                [Trajectory(f"e{draw.index}", draw.task_id, "g", "rl", 0, (turn,), "submit", Score(1.0))],
                stage="rl",
                step=step,
            )
        run.log("rl", step, {"reward": 1.0})
        weights += f"{step},"
        run.checkpoint(f"step-{step}", lambda folder, text=weights: (folder / "w").write_text(text))
        state = RunState("rl", step, version=step, cursor=cursor.give_back(in_flight).state())
        run.commit(state, checkpoint=f"step-{step}")
        run.prune(2)
        print(step, flush=True)
    run.close()


main(Path(sys.argv[1]), int(sys.argv[2]))
