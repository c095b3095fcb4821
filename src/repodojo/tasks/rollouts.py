"""What became of a set's tasks when they were played: a file for each run or evaluation, in `rollouts/` beside them.

A file is replaced whole when its run is recorded again, so nothing is counted twice, and two runs never write the same
one. Outcomes are kept in the order they were played, as text: "1" solved, "0" not; what met an outage is left out.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from repodojo.core.errors import TaskError
from repodojo.tasks.manifest import disk_errors

FOLDER = "rollouts"
MODEL = "model"
"""The policy whose attempts decide; scripted references go by their names."""
RANDOM = "random-edit"


@dataclass(frozen=True)
class Rollouts:
    """`outcomes` by task id, e.g. {"t-0123": "0010"}; `time` (Unix) is when the last of them was recorded."""

    name: str
    policy: str = MODEL
    time: float = 0.0
    outcomes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tally:
    """Solved attempts, and all."""

    solved: int = 0
    attempts: int = 0

    @property
    def rate(self) -> float:
        """Share that was solved; 0 where there is none."""
        return self.solved / self.attempts if self.attempts else 0.0


def outcomes(pairs: Iterable[tuple[str, bool]]) -> dict[str, str]:
    """Task ids with whether they were solved, in order, as `Rollouts` keeps them.

    >>> outcomes([("a", False), ("b", True), ("a", True)])
    {'a': '01', 'b': '1'}
    """
    found: dict[str, list[str]] = {}
    for task_id, solved in pairs:
        found.setdefault(task_id, []).append("01"[solved])
    return {task_id: "".join(marks) for task_id, marks in found.items()}


def save(store: Path, rollouts: Rollouts) -> Path | None:
    """Write them into a set, in place of those of the same name; None where there is nothing to write."""
    if not rollouts.outcomes:
        return None
    folder = store / FOLDER
    path = folder / f"{re.sub(r'[^A-Za-z0-9._=-]+', '-', rollouts.name).strip('.-')}.json"
    part = folder / f".{os.getpid()}.part"
    with disk_errors(store):
        folder.mkdir(exist_ok=True)
        part.write_text(json.dumps(asdict(rollouts), indent=1) + "\n")
        os.replace(part, path)
    return path


def load(store: Path) -> list[Rollouts]:
    """All of a set, oldest first; TaskError for a file that is none."""
    found = []
    for path in sorted((store / FOLDER).glob("[!.]*.json")):
        try:
            row = json.loads(path.read_text())
            marks = {str(name): str(text) for name, text in row["outcomes"].items()}
            if any(set(text) - {"0", "1"} for text in marks.values()):
                raise ValueError("an outcome is neither 0 nor 1")
            found.append(Rollouts(str(row["name"]), str(row["policy"]), float(row["time"]), marks))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TaskError(
                f"{path} cannot be read: {error!r}", way_out="remove it, and record that run anew"
            ) from None
    return sorted(found, key=lambda rollouts: (rollouts.time, rollouts.name))


def tally(found: Sequence[Rollouts], policy: str = MODEL, recent: int = 0) -> dict[str, Tally]:
    """What a policy did, by task: its newest `recent` attempts of each (0: all).

    >>> tally([Rollouts("a", outcomes={"t": "1100"})], recent=2)
    {'t': Tally(solved=0, attempts=2)}
    """
    marks: dict[str, str] = {}
    for rollouts in (one for one in found if one.policy == policy):
        for task_id, text in rollouts.outcomes.items():
            marks[task_id] = marks.get(task_id, "") + text
    newest = {task_id: text[-recent:] if recent else text for task_id, text in marks.items()}
    return {task_id: Tally(text.count("1"), len(text)) for task_id, text in newest.items()}
