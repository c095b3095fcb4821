"""Reading what process scores look at, from a box that holds no change yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from repodojo.core.protocols import Sandbox
from repodojo.core.records import Task, Trajectory
from repodojo.rewards.filter import admissible
from repodojo.rewards.linting import CONFIGURATION
from repodojo.rewards.process.work import Work

SKIPPED = {".git", "__pycache__", "node_modules", ".tox", ".venv"}
MOST_FILES = 5000
LARGEST = 1 << 20


@dataclass(frozen=True)
class Repository:
    """The Python files and ruff's settings of a task's base, as texts by path."""

    python: Mapping[str, str]
    configuration: Mapping[str, str]


async def repository(box: Sandbox) -> Repository:
    """At most MOST_FILES Python files of at most LARGEST bytes each."""
    python: dict[str, str] = {}
    waiting = [""]
    names = await box.listdir(".")
    while waiting and len(python) < MOST_FILES:
        folder = waiting.pop()
        for name in await _names(box, folder):
            path = folder + name
            if name.endswith("/") and name.rstrip("/") not in SKIPPED:
                waiting.append(path)
            elif name.endswith(".py") and (text := await _text(box, path)) is not None:
                python[path] = text
    settings = {name: await _text(box, name) or "" for name in CONFIGURATION if name in names}
    return Repository(dict(sorted(python.items())), settings)


async def work(
    task: Task, changes: Mapping[str, bytes | None], base: Repository, box: Sandbox, trajectory: Trajectory | None
) -> Work:
    """What the scores look at; `box` gives the text before of changed files that are no Python."""
    kept = counted(task, changes)
    before = {path: base.python.get(path, await _text(box, path) or "") for path in changes}
    return Work(
        task=task,
        base=base.python,
        changed={path: _decoded(data) for path, data in kept.items()},
        touched={path: (before[path], _decoded(data) or "") for path, data in changes.items()},
        configuration=base.configuration,
        trajectory=trajectory,
    )


def counted(task: Task, changes: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """The changes that grading admits."""
    prefix = f"{task.environment.work_dir.rstrip('/')}/"
    paths = task.environment.variables.get("PYTHONPATH", "").split(":")
    roots = tuple(dict.fromkeys(["", *(p.removeprefix(prefix) for p in paths if p.startswith(prefix))]))
    return admissible(changes, task.protected, roots)[0]


def _decoded(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")


async def _names(box: Sandbox, folder: str) -> list[str]:
    try:
        return await box.listdir(folder or ".")
    except OSError:  # a link to a folder that is not there
        return []


async def _text(box: Sandbox, path: str) -> str | None:
    """None where there is no such file, or one too large to look at."""
    try:
        data = await box.read(path)
    except OSError:
        return None
    return data.decode("utf-8", "replace") if len(data) <= LARGEST else None
