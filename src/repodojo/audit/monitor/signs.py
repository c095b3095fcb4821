"""The signs that one episode can show, each with what gave it away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from repodojo.audit.monitor import changes, commands
from repodojo.core.editing import is_edit
from repodojo.core.records import Task, Trajectory


@dataclass(frozen=True)
class Sign:
    """A sign by name, and its evidence: a path, a command, a line of code."""

    name: str
    evidence: str


FINDERS: dict[str, Callable[[Trajectory, Task], Iterator[str]]] = {
    "tests": changes.tampered,
    "outside": commands.outside,
    "history": commands.history,
    "exit": changes.exits,
    "background": commands.background,
}
"""What each sign of an episode is found by; `jump` and `collapse` are signs of a step (see `series`)."""


def signs(trajectory: Trajectory, task: Task, wanted: Collection[str] = tuple(FINDERS)) -> list[Sign]:
    """Every sign of the wanted kinds, each piece of evidence once. A code edit runs nothing, so it can show none."""
    if is_edit(task):
        return []
    found = [Sign(name, said) for name, find in FINDERS.items() if name in wanted for said in find(trajectory, task)]
    return list(dict.fromkeys(found))
