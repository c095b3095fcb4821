"""The reference solution of a task as changes of files."""

from __future__ import annotations

from pathlib import Path

from repodojo.core.editing import ANSWER, expected, is_edit
from repodojo.core.errors import TaskError
from repodojo.core.records import Task
from repodojo.tasks.patches import applied, paths


def gold_changes(store: Path, task: Task) -> dict[str, bytes | None]:
    """Path to new bytes (None: deleted). An injected bug is taken back; a patch is applied to the task's tree; the
    solution of a code edit is its answer.

    Raises TaskError where the task has no tree here, or its patch does not fit.
    """
    if is_edit(task):
        return {ANSWER: expected(task).encode()}
    recipe = task.environment.recipe
    if not recipe.get("tree"):
        raise TaskError(
            f"task {task.id} has no tree in {store}", way_out="its environment is an image; use a container sandbox"
        )
    tree = store / "trees" / recipe["tree"]
    broken = [edit["path"] for edit in recipe.get("edits", ()) if edit["path"] not in task.protected]
    if broken:
        return {path: (tree / path).read_bytes() for path in broken}
    if task.gold is None:
        raise TaskError(f"task {task.id} has no reference patch", way_out="leave it out")
    touched = touched_paths(task.gold.patch)
    files = {path: (tree / path).read_bytes() for path in touched if (tree / path).is_file()}
    return applied(task.gold.patch, files, back=task.gold.direction == "bug")


def touched_paths(patch: str) -> list[str]:
    """Files that a patch reads or writes: those of its new names, and the old ones of what it renames."""
    renamed = [row.partition(" from ")[2] for row in patch.splitlines() if row.startswith("rename from ")]
    return [*paths(patch), *renamed]
