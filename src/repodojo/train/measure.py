"""Measuring a policy on tasks: episodes through the same workers that train, summarised with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from repodojo.core.records import Task, Trajectory
from repodojo.evaluate.commands.figures import by_shell
from repodojo.evaluate.summary import Row, summarise
from repodojo.rollout.orders import MODEL, group_orders
from repodojo.rollout.pool import WorkerPool
from repodojo.tasks.store import TaskStore

REFERENCES = ("random-edit", "negate-first-if", "tested-search")


def episodes(
    pool: WorkerPool,
    tasks: Sequence[Task],
    *,
    attempts: int,
    seed: int,
    policy: str = MODEL,
    name: str = "eval",
    on_episode: Callable[[], None] = lambda: None,
) -> list[Trajectory]:
    """`attempts` episodes of every task, in the order of tasks."""
    ids = [task.id for task in tasks]
    orders = group_orders(ids, size=attempts, prefix=f"{name}/{policy}", seed=seed, policy=policy)
    found: dict[str, Trajectory] = {}
    for trajectory in pool.run(orders):
        found[trajectory.id] = trajectory
        on_episode()
    return [found[order.id] for order in orders]


def row(name: str, trajectories: Sequence[Trajectory], tasks: Sequence[Task], store: Path, seed: int) -> Row:
    """One line of a table; `restored` compares with the sound text that the store holds."""
    tasks_of = TaskStore(store)

    def original(task: Task) -> Mapping[str, str]:
        return {path: data.decode("utf-8", "replace") for path, data in tasks_of.gold_changes(task).items()}

    return summarise(trajectories, tasks, name=name, seed=seed, original=original)


def part_means(trajectories: Sequence[Trajectory], names: Sequence[str]) -> dict[str, float]:
    """The mean of each part of a composed reward, as `part_NAME`, over the episodes for which it was worked out."""
    known = {name: [t.score.parts[name] for t in trajectories if name in t.score.parts] for name in names}
    return {f"part_{name}": sum(values) / len(values) for name, values in known.items() if values}


def command_accuracy(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """`command_accuracy_SHELL` for each shell that commands were issued for; boxes here are Linux."""
    found = by_shell(trajectories, lambda task_id: "linux")
    return {f"command_accuracy_{shell}": figures.command_accuracy for shell, figures in found.items()}


def mean_reward(trajectories: Sequence[Trajectory]) -> float | None:
    """The mean of the rewards; None where no episode has one."""
    rewards = [t.score.value for t in trajectories if t.score.value is not None]
    return sum(rewards) / len(rewards) if rewards else None
