"""A folder of tasks: manifest.json, tasks.jsonl, trees/ and sites/.

The manifest is the commit point. It says how many bytes of tasks.jsonl count; tasks are appended and flushed first,
then a new manifest replaces the old one. Whatever stops in between leaves a tail that is ignored and overwritten.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repodojo.core.codec import from_json, to_json
from repodojo.core.errors import TaskError, UserError
from repodojo.core.records import Split, Task

FORMAT = 1


class TaskStore:
    """Tasks of one folder. Raises TaskError where it is missing or malformed, UserError where the disk is full."""

    def __init__(self, path: str | Path, *, create: bool = False) -> None:
        self.path = Path(path)
        if not create and not (self.path / "manifest.json").is_file():
            raise TaskError(f"{self.path} holds no tasks", way_out=f"make some: repodojo tasks make SOURCE -o {path}")
        if create and self.path.exists() and not self.path.is_dir():
            raise TaskError(f"{self.path} is a file", way_out="name a folder")
        self.manifest = self._read_manifest()

    def tasks(self, split: Split | None = None) -> list[Task]:
        """All tasks, or those of one split, in the order they were made."""
        return [task for task in self._load() if split is None or task.source.split == split]

    def get(self, task_id: str) -> Task:
        """One task by its id, or by the beginning of it where that is enough."""
        found = [task for task in self._load() if task.id.startswith(task_id)]
        exact = [task for task in found if task.id == task_id]
        if len(exact or found) != 1:
            what = "is ambiguous" if found else "is not there"
            raise TaskError(f"task {task_id!r} {what}", way_out=f"see: repodojo tasks list {self.path}")
        return (exact or found)[0]

    def gold_changes(self, task: Task) -> dict[str, bytes]:
        """The sound text of each file that the task's bug is in: what a perfect agent leaves behind."""
        recipe = task.environment.recipe
        broken = [edit["path"] for edit in recipe["edits"] if edit["path"] not in task.protected]
        return {path: (self.path / "trees" / recipe["tree"] / path).read_bytes() for path in broken}

    def split_of(self, package: str) -> str:
        """The split a package's tasks are in; "" where it has none."""
        return str(self.manifest["packages"].get(package, {}).get("split", ""))

    def refuse_other_split(self, package: str, split: Split) -> None:
        """A package is in one split only: that is what held-out means."""
        if (other := self.split_of(package)) and other != split:
            raise TaskError(
                f"{package} is already in the split {other!r} of {self.path}",
                way_out="use another package or another folder: splits share no package",
            )

    def functions(self, *, beside: Split) -> set[str]:
        """Digests of the functions that other splits hold."""
        return {task.labels.get("function", "") for task in self._load() if task.source.split != beside} - {""}

    def append(self, tasks: Sequence[Task], package: str, entry: Mapping[str, Any]) -> list[Task]:
        """Add a package's tasks at once; those whose id is there already are left out. Returns what was added."""
        known = {task.id for task in self._load()}
        new = [task for task in {task.id: task for task in tasks}.values() if task.id not in known]
        data = "".join(to_json(task) + "\n" for task in new).encode()
        manifest = json.loads(json.dumps(self.manifest))
        size = manifest["bytes"]
        old = manifest["packages"].get(package, {})
        manifest["packages"][package] = {**old, **entry, "tasks": old.get("tasks", 0) + len(new)}
        counts = Counter(manifest["counts"])
        counts.update(f"{task.source.split}/{task.labels.get('kind', '')}" for task in new)
        manifest |= {"bytes": size + len(data), "counts": dict(sorted(counts.items()))}
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with open(self.path / "tasks.jsonl", "ab") as stream:
                stream.truncate(size)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            self._write_manifest(manifest)
        return new

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        part = self.path / f".manifest-{os.getpid()}.json"
        try:
            part.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
            os.replace(part, self.path / "manifest.json")
        finally:
            part.unlink(missing_ok=True)
        self.manifest = manifest

    def _read_manifest(self) -> dict[str, Any]:
        path = self.path / "manifest.json"
        if not path.is_file():
            return {"format": FORMAT, "bytes": 0, "packages": {}, "counts": {}}
        try:
            manifest: dict[str, Any] = json.loads(path.read_text())
            if manifest["format"] != FORMAT:
                raise TaskError(f"{path} has format {manifest['format']}", way_out=f"this version reads {FORMAT}")
            return {**manifest, "bytes": int(manifest["bytes"])}
        except (ValueError, KeyError, TypeError) as error:
            raise TaskError(f"{path} cannot be read: {error!r}", way_out="make the tasks anew") from None

    def _load(self) -> Iterator[Task]:
        size = self.manifest["bytes"]
        if not size:
            return
        path = self.path / "tasks.jsonl"
        if not path.is_file() or path.stat().st_size < size:
            raise TaskError(f"{path} is shorter than its manifest says", way_out="make the tasks anew")
        with open(path, "rb") as stream:
            data = stream.read(size)
        for number, line in enumerate(data.splitlines(), 1):
            yield from_json(Task, line, where=f"{path}:{number}")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """A full or read-only disk is the user's to mend: one message instead of a traceback."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write under {path}: {error.strerror or error}", way_out="free some space, or name another folder"
        ) from error
