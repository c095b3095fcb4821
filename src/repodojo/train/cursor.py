"""Which task comes next: seeded epochs without end, whose whole state is a few numbers that a checkpoint can hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from repodojo.core.errors import RunError


@dataclass(frozen=True)
class Draw:
    """A task taken from the cursor. `index` counts draws from 0 and names this one for ever: index // tasks = epoch."""

    index: int
    task_id: str


@lru_cache(maxsize=4)
def _epoch(task_ids: tuple[str, ...], weights: tuple[float, ...], seed: int, epoch: int) -> tuple[str, ...]:
    """The order of one epoch. Sorting by a digest, unlike `random.shuffle`, is the same in every Python version."""
    taken = enumerate(_systematic(task_ids, weights, seed, epoch) if weights else task_ids)
    keyed = [
        (hashlib.sha256(_key(seed, epoch, task, place if weights else None)).digest(), task) for place, task in taken
    ]
    return tuple(task for _, task in sorted(keyed))


def _key(seed: int, epoch: int, task: str, place: int | None) -> bytes:
    """Copies of a task within a weighted epoch stand apart by their place."""
    return f"{seed}:{epoch}:{task}{'' if place is None else f':{place}'}".encode()


def _systematic(task_ids: tuple[str, ...], weights: tuple[float, ...], seed: int, epoch: int) -> list[str]:
    """As many draws as there are tasks, each task its share of them by weight, rounded up or down by chance.

    Systematic sampling: N points at even distances, begun at a seeded place, over the weights laid end to end. An
    epoch keeps its length, so that a draw's number still tells its epoch; with equal weights each task comes once.
    """
    digest = hashlib.sha256(f"{seed}:{epoch}:weights".encode()).digest()
    start, step = int.from_bytes(digest[:8]) / 2**64, sum(weights) / len(weights)
    taken: list[str] = []
    reached = 0.0
    for task, weight in zip(task_ids, weights, strict=True):
        reached += weight / step
        while len(taken) + start < reached and len(taken) < len(task_ids):
            taken.append(task)
    return taken + [task_ids[-1]] * (len(task_ids) - len(taken))  # where rounding left the last point out


@dataclass(frozen=True)
class TaskCursor:
    """A place in an endless sequence of shuffled epochs over `task_ids`; every operation returns a new cursor.

    Draws may finish out of order. Those still in flight when the state is saved are given back first, so that a
    resumed run takes them again, and the rest of the sequence follows: no task twice, none skipped.

    >>> cursor = TaskCursor.over(["a", "b", "c"], seed=0)
    >>> draws, cursor = cursor.take(3)
    >>> sorted(draw.task_id for draw in draws), cursor.position
    (['a', 'b', 'c'], 3)
    >>> cursor.give_back(draws[1:2]).take(1)[0] == draws[1:2]
    True
    """

    task_ids: tuple[str, ...]
    seed: int
    position: int = 0
    returned: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    @classmethod
    def over(cls, task_ids: Iterable[str], seed: int, weights: Mapping[str, float] | None = None) -> TaskCursor:
        """A cursor at the start. The order in which ids are given makes no difference; RunError on none or doubles.

        `weights` says how often tasks are drawn relative to each other; one that is not named has weight 1.
        """
        given = list(task_ids)
        unique = tuple(sorted(set(given)))
        if not unique or len(unique) < len(given):
            cause = "the task set is empty" if not unique else "the task set holds an id twice"
            raise RunError(cause, way_out="make the task set anew")
        named = tuple(weights.get(task, 1.0) for task in unique) if weights else ()
        return cls(unique, seed, weights=named if len(set(named)) > 1 else ())

    def take(self, count: int) -> tuple[tuple[Draw, ...], TaskCursor]:
        """The next `count` draws: what was given back, oldest first, then the sequence."""
        again, fresh = self.returned[:count], max(0, count - len(self.returned))
        indices = (*again, *range(self.position, self.position + fresh))
        moved = replace(self, position=self.position + fresh, returned=self.returned[count:])
        return tuple(Draw(index, self._task(index)) for index in indices), moved

    def give_back(self, draws: Iterable[Draw]) -> TaskCursor:
        """The cursor that will take these draws again before anything new."""
        indices = {*self.returned, *(draw.index for draw in draws)}
        if any(not 0 <= index < self.position for index in indices):
            raise ValueError("a draw was given back that was never taken")
        return replace(self, returned=tuple(sorted(indices)))

    def state(self) -> dict[str, Any]:
        """What `restore` needs, as JSON."""
        return {
            "seed": self.seed,
            "position": self.position,
            "returned": list(self.returned),
            "tasks": digest(self.task_ids),
            **({"weights": digest([repr(weight) for weight in self.weights])} if self.weights else {}),
        }

    @classmethod
    def restore(
        cls, task_ids: Sequence[str], state: Mapping[str, Any], weights: Mapping[str, float] | None = None
    ) -> TaskCursor:
        """The cursor that `state` was taken from; RunError where the task set or its weights are others."""
        start = cls.over(task_ids, int(state["seed"]), weights)
        if start.state().get("weights") != state.get("weights"):
            cause = "the task weights are not those this run began with, so its place among the tasks means nothing"
            raise RunError(cause, way_out="resume with the same file of weights, or start a new run")
        if digest(start.task_ids) != state["tasks"]:
            raise RunError(
                "the task set is not the one this run began with, so its place in it means nothing",
                way_out="resume with the same task set, or start a new run",
            )
        return replace(start, position=int(state["position"]), returned=tuple(state["returned"]))

    def _task(self, index: int) -> str:
        epoch, place = divmod(index, len(self.task_ids))
        return _epoch(self.task_ids, self.weights, self.seed, epoch)[place]


def digest(task_ids: Sequence[str]) -> str:
    """Names a task set."""
    return hashlib.sha256("\n".join(task_ids).encode()).hexdigest()
