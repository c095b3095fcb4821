"""Adding tasks to a set, any number of them with flat memory: lines are written as they come, then counted at once."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from repodojo.core.codec import to_json
from repodojo.core.errors import TaskError
from repodojo.core.records import Task
from repodojo.tasks import manifest as manifests

ID = re.compile(rb'\{"id":("(?:[^"\\]|\\.)*")')


class Appender:
    """Appends tasks; those whose id is there already, or was retired, are left out. Nothing counts before `commit`.

    A context manager: leaving it closes the file, and what was not committed is ignored and overwritten later.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads(json.dumps(manifest))
        self.size = self.manifest["bytes"]
        self.path = manifests.file_of(folder, self.manifest)
        self.known = {*ids(self.path, self.size), *self.manifest.get("retired", {})}
        self.counts: Counter[str] = Counter(self.manifest["counts"])
        self.added: Counter[str] = Counter()
        self._stream: IO[bytes] | None = None
        self._digest = manifests.hashed(self.path, self.size)

    def __enter__(self) -> Appender:
        with manifests.disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._stream = open(self.path, "ab")
            self._stream.truncate(self.size)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._stream is not None
        with manifests.disk_errors(self.folder):
            self._stream.close()
            if not (self.folder / "manifest.json").exists():  # nothing was ever committed here
                self.path.unlink(missing_ok=True)
                if not any(self.folder.iterdir()):
                    self.folder.rmdir()

    def put(self, task: Task, package: str, line: str = "") -> bool:
        """Write one task (`line`, where it is known, is its JSON); False where its id is there already."""
        assert self._stream is not None
        if task.id in self.known:
            return False
        data = (line or to_json(task)).encode() + b"\n"
        with manifests.disk_errors(self.folder):
            self._stream.write(data)
        self._digest.update(data)
        self.known.add(task.id)
        self.size += len(data)
        self.counts[f"{task.source.split}/{task.labels.get('kind', '')}"] += 1
        self.added[package] += 1
        return True

    def commit(self, entries: Mapping[str, Mapping[str, Any]], **more: Any) -> dict[str, Any]:
        """Make everything written so far count: `entries` by package, `more` further fields. The new manifest."""
        assert self._stream is not None
        packages = self.manifest["packages"]
        for package in {**entries, **self.added}:
            old = packages.get(package, {})
            tasks = old.get("tasks", 0) + self.added[package]
            packages[package] = {**old, **entries.get(package, {}), "tasks": tasks}
        self.added.clear()
        self.manifest |= {
            "bytes": self.size,
            "sha256": self._digest.hexdigest(),
            "version": self.manifest.get("version", 0) + 1,
            "counts": dict(sorted(self.counts.items())),
            **more,
        }
        with manifests.disk_errors(self.folder):
            self._stream.flush()
            os.fsync(self._stream.fileno())
            manifests.write(self.folder, self.manifest)
        return self.manifest


def lines(path: Path, size: int) -> Iterator[bytes]:
    """The lines in the first `size` bytes of a file, one at a time; TaskError where it is shorter."""
    if not size:
        return
    if not path.is_file() or path.stat().st_size < size:
        raise TaskError(f"{path} is shorter than its manifest says", way_out="make the tasks anew")
    with open(path, "rb") as stream:
        for line in stream:
            yield line[:size].rstrip(b"\n")
            size -= len(line)
            if size <= 0:
                return


def ids(path: Path, size: int) -> Iterator[str]:
    """The ids of the tasks in a file, without decoding the rest of them."""
    for number, line in enumerate(lines(path, size), 1):
        if not (found := ID.match(line)):
            raise TaskError(f"{path}:{number}: no task begins there", way_out="make the tasks anew")
        yield json.loads(found[1])
