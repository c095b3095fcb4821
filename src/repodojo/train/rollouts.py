"""What runs and evaluations tell a task set of its tasks (see `tasks.rollouts`)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from repodojo.core.records import Trajectory
from repodojo.tasks.rollouts import Rollouts, outcomes, save
from repodojo.train import setup
from repodojo.train.rundir import RunDir


def of_run(run: RunDir) -> list[Rollouts]:
    """The committed episodes of a run that have a score, by policy, in the order they were played.

    None of an attacker's: it is paid for what solves nothing, so its rewards say nothing of a task.
    """
    if run.config.attacker.enabled:
        return []
    plain = setup.formula(run.config).plain
    rows = run.query("reward IS NOT NULL AND pending <= ? ORDER BY rowid", (run.state.commit,))
    last = max((line["time"] for line in run.metrics()), default=0.0)
    name = f"run-{run.path.name}-{_digest(str(run.path.resolve()))}"

    def solved(policy: str) -> Iterator[tuple[str, bool]]:
        for row in rows:
            if row["policy"] == policy:  # a shaped reward says in its parts whether the task was solved
                yield row["task_id"], row["reward"] >= 1 if plain else run.load(row["id"]).score.solved

    policies = sorted({row["policy"] for row in rows})
    return [Rollouts(f"{name}.{policy}", policy, last, outcomes(solved(policy))) for policy in policies]


def record(run: RunDir) -> list[Rollouts]:
    """Write them into the run's task set, in place of what the run told it before."""
    found = of_run(run)
    for rollouts in found:
        save(Path(run.config.tasks.store), rollouts)
    return found


def record_episodes(store: Path, name: str, model: Path, policy: str, found: Sequence[Trajectory]) -> None:
    """Write an evaluation's episodes into a task set; measured again under the same name, they replace these."""
    pairs = [(t.task_id, t.score.solved) for t in found if t.score.value is not None]
    title = f"eval-{name}-{_digest(str(model.resolve()))}.{policy}"
    save(store, Rollouts(title, policy, time.time(), outcomes(pairs)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
