"""A folder of tasks: manifest.json, tasks.jsonl, trees/ and sites/ (and history/, what was tried of commits).

The manifest is the commit point. It says how many bytes of tasks.jsonl count; tasks are appended and flushed first,
then a new manifest replaces the old one. Whatever stops in between leaves a tail that is ignored and overwritten.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repodojo.core.codec import from_json, to_json
from repodojo.core.errors import TaskError
from repodojo.core.records import Split, Task
from repodojo.tasks import manifest as manifests
from repodojo.tasks.appending import ID, Appender, lines
from repodojo.tasks.gold import gold_changes
from repodojo.tasks.manifest import disk_errors

__all__ = ["TaskStore", "disk_errors"]


class TaskStore:
    """Tasks of one folder. Raises TaskError where it is missing or malformed, UserError where the disk is full."""

    def __init__(self, path: str | Path, *, create: bool = False) -> None:
        self.path = Path(path)
        if not create and not (self.path / "manifest.json").is_file():
            raise TaskError(f"{self.path} holds no tasks", way_out=f"make some: repodojo tasks make SOURCE -o {path}")
        if create and self.path.exists() and not self.path.is_dir():
            raise TaskError(f"{self.path} is a file", way_out="name a folder")
        self.manifest = manifests.read(self.path)

    def tasks(self, split: Split | None = None) -> list[Task]:
        """All tasks, or those of one split, in the order they were made."""
        return list(self.each(split))

    def each(self, split: Split | None = None) -> Iterator[Task]:
        """The same one at a time, for sets that are larger than memory."""
        path = manifests.file_of(self.path, self.manifest)
        for number, line in enumerate(lines(path, self.manifest["bytes"]), 1):
            task = from_json(Task, line, where=f"{path}:{number}")
            if split is None or task.source.split == split:
                yield task

    def get(self, task_id: str) -> Task:
        """One task by its id, or by the beginning of it where that is enough."""
        path = manifests.file_of(self.path, self.manifest)
        found: list[Task] = []
        for number, line in enumerate(lines(path, self.manifest["bytes"]), 1):
            if (begins := ID.match(line)) and json.loads(begins[1]).startswith(task_id):
                found.append(from_json(Task, line, where=f"{path}:{number}"))
        exact = [task for task in found if task.id == task_id]
        if len(exact or found) != 1:
            what = "is ambiguous" if found else "is not there"
            raise TaskError(f"task {task_id!r} {what}", way_out=f"see: repodojo tasks list {self.path}")
        return (exact or found)[0]

    def gold_changes(self, task: Task) -> dict[str, bytes]:
        """The sound text of each file that the task's bug is in: what a perfect agent leaves behind.

        A file that the solution deletes is empty here (`gold.gold_changes` tells the two apart).
        """
        return {path: data or b"" for path, data in gold_changes(self.path, task).items()}

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
        return {task.labels.get("function", "") for task in self.each() if task.source.split != beside} - {""}

    def append(self, tasks: Sequence[Task], package: str, entry: Mapping[str, Any]) -> list[Task]:
        """Add a package's tasks at once; those whose id is there already are left out. Returns what was added."""
        with self.appending() as adding:
            new = [task for task in tasks if adding.put(task, package)]
            self.manifest = adding.commit({package: entry})
        return new

    def appending(self) -> Appender:
        """For many tasks: write them one by one, then commit (see `Appender`; read the store anew afterwards)."""
        return Appender(self.path, self.manifest)

    def rewrite(self, change: Callable[[Task], Task | None], packages: Mapping[str, Any], **more: Any) -> None:
        """Replace every task by what `change` makes of it (None: it goes), all at once: a new file, a new manifest."""
        version = self.manifest.get("version", 0) + 1
        old = manifests.file_of(self.path, self.manifest)
        new, counts = self.path / f"tasks-{version}.jsonl", Counter[str]()
        with disk_errors(self.path):
            with open(new, "wb") as stream:
                for task in filter(None, map(change, self.each())):
                    stream.write(to_json(task).encode() + b"\n")
                    counts[f"{task.source.split}/{task.labels.get('kind', '')}"] += 1
                stream.flush()
                os.fsync(stream.fileno())
            size = new.stat().st_size
            found = {"file": new.name, "bytes": size, "sha256": manifests.hashed(new, size).hexdigest()}
            found |= {"version": version, "counts": dict(sorted(counts.items())), "packages": dict(packages)}
            self.note(**found, **more)
            old.unlink(missing_ok=True)

    def note(self, **fields: Any) -> None:
        """Put fields into the manifest."""
        self.manifest = {**self.manifest, **fields}
        with disk_errors(self.path):
            manifests.write(self.path, self.manifest)
