"""What a run knows of its tasks, and a cursor that draws those whose groups are likely to hold a signal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from repodojo.algorithms.curriculum import difficulty_weights, refreshed
from repodojo.algorithms.replay import draw
from repodojo.core.errors import RunError
from repodojo.core.records import Trajectory
from repodojo.train.cursor import Draw, digest
from repodojo.train.rundir import RunDir

REPLAYED = "+"
"""In the id of an episode that began with an earlier one's turns: it says nothing of how hard its task is."""


class Ledger:
    """How often each task was tried and solved in training, from the run's rows; outages and replays are left out."""

    def __init__(self, run: RunDir, before: int | None = None) -> None:
        """`before`: count RL only up to this step."""
        self.solved: dict[str, int] = {}
        self.attempts: dict[str, int] = {}
        which = "stage = 'rft' OR stage = 'rl'" + ("" if before is None else f" AND step < {before:d}")
        for row in run.query(f"({which}) AND reward IS NOT NULL AND instr(id, '{REPLAYED}') = 0"):
            self._count(row["task_id"], row["reward"] >= 1)

    def add(self, trajectories: Iterable[Trajectory]) -> None:
        """Take in a step's episodes."""
        for t in trajectories:
            if t.score.value is not None and REPLAYED not in t.id:
                self._count(t.task_id, t.score.solved)

    def counts(self, task_ids: Sequence[str]) -> tuple[list[int], list[int]]:
        """Solved and attempts of each task."""
        return [self.solved.get(t, 0) for t in task_ids], [self.attempts.get(t, 0) for t in task_ids]

    def kept(self, task_ids: Sequence[str]) -> list[str]:
        """Those worth another stage: solved at least once, and in less than 2/3 of all attempts; RunError for none."""
        keep = refreshed(*self.counts(task_ids))
        found = [task for task, stays in zip(task_ids, keep.tolist(), strict=True) if stays]
        if not found:
            cause = f"a refresh leaves none of {len(task_ids)} tasks: each was never solved, or in 2/3 of all attempts"
            raise RunError(cause, way_out="leave refresh out of that stage, or give it other tasks")
        return found

    def weights(self, task_ids: Sequence[str], *, group_size: int, floor: float) -> tuple[float, ...]:
        """How likely each is to be drawn (see `curriculum.difficulty_weights`)."""
        chance = difficulty_weights(*self.counts(task_ids), group_size=group_size, floor=floor)
        return tuple(float(x) for x in chance)

    def _count(self, task: str, solved: bool) -> None:
        self.attempts[task] = self.attempts.get(task, 0) + 1
        self.solved[task] = self.solved.get(task, 0) + int(solved)


@dataclass(frozen=True)
class WeightedCursor:
    """Draws by weight instead of by epochs, with the operations of `TaskCursor`.

    Those of one `take` are drawn systematically: a task comes floor or ceil of count * weight times. What was given
    back is taken again first, with the task it was drawn for, however the weights have moved since.
    """

    task_ids: tuple[str, ...]
    seed: int
    weights: tuple[float, ...]
    position: int = 0
    returned: tuple[Draw, ...] = ()

    @classmethod
    def over(cls, task_ids: Iterable[str], seed: int) -> WeightedCursor:
        """At the start, all equally likely."""
        ids = tuple(sorted(set(task_ids)))
        if not ids:
            raise RunError("the task set is empty", way_out="make the task set anew")
        return cls(ids, seed, (1 / len(ids),) * len(ids))

    def weighed(self, weights: tuple[float, ...]) -> WeightedCursor:
        """The same place with other weights."""
        return replace(self, weights=weights)

    def take(self, count: int) -> tuple[tuple[Draw, ...], WeightedCursor]:
        """The next `count` draws."""
        again, fresh = self.returned[:count], max(0, count - len(self.returned))
        found = list(again)
        if fresh:
            digested = hashlib.sha256(f"{self.seed}:{self.position}".encode()).digest()
            u = int.from_bytes(digested[:6]) / 2**48
            chosen = draw(np.array(self.weights), fresh, u=u).index_B.tolist()
            found += [Draw(self.position + k, self.task_ids[i]) for k, i in enumerate(chosen)]
        moved = replace(self, position=self.position + fresh, returned=self.returned[count:])
        return tuple(found), moved

    def give_back(self, draws: Iterable[Draw]) -> WeightedCursor:
        """The cursor that will take these again before anything new."""
        known = {d.index: d for d in (*self.returned, *draws)}
        return replace(self, returned=tuple(known[index] for index in sorted(known)))

    def state(self) -> dict[str, Any]:
        """What `restore` needs, as JSON; weights follow from the run's rows."""
        returned = [[d.index, d.task_id] for d in self.returned]
        return {"seed": self.seed, "position": self.position, "returned": returned, "tasks": digest(self.task_ids)}

    @classmethod
    def restore(cls, task_ids: Sequence[str], state: Mapping[str, Any]) -> WeightedCursor:
        """The cursor that `state` was taken from; RunError where the task set is another one."""
        start = cls.over(task_ids, int(state["seed"]))
        if digest(start.task_ids) != state["tasks"]:
            raise RunError("the task set is not the one this run began with", way_out="resume with the same task set")
        returned = tuple(Draw(int(index), task) for index, task in state["returned"])
        return replace(start, position=int(state["position"]), returned=returned)
