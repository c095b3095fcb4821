"""The manifest of a task set: what counts, and where it came from. Written whole, by replacement.

`file` and `bytes` say what of which file counts, `sha256` what it hashes to, `version` how often the set changed;
`packages` holds source, revision, licence, seed and funnel by package, `imports` the files that were read, and
`validation` the figures of the last `tasks validate`. Stores from before have no hash, version or file name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repodojo.core.errors import TaskError, UserError
from repodojo.core.records import Task
from repodojo.tasks.layout import canonical

FORMAT = 1
TASKS = "tasks.jsonl"


def read(folder: Path) -> dict[str, Any]:
    """The manifest in a folder, or an empty one; TaskError where it cannot be understood."""
    path = folder / "manifest.json"
    if not path.is_file():
        return {"format": FORMAT, "bytes": 0, "packages": {}, "counts": {}}
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        if manifest["format"] != FORMAT:
            raise TaskError(f"{path} has format {manifest['format']}", way_out=f"this version reads {FORMAT}")
        if "/" in manifest.get("file", TASKS):
            raise TaskError(f"{path} names a file elsewhere", way_out="make the tasks anew")
        return {**manifest, "bytes": int(manifest["bytes"])}
    except (ValueError, KeyError, TypeError) as error:
        raise TaskError(f"{path} cannot be read: {error!r}", way_out="make the tasks anew") from None


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest; after this call the new one counts."""
    part = folder / f".manifest-{os.getpid()}.json"
    try:
        part.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        os.replace(part, folder / "manifest.json")
    finally:
        part.unlink(missing_ok=True)


def file_of(folder: Path, manifest: dict[str, Any]) -> Path:
    """The file that holds the tasks."""
    return folder / str(manifest.get("file", TASKS))


def hashed(path: Path, size: int) -> hashlib._Hash:
    """The running SHA-256 of the first `size` bytes of a file."""
    digest = hashlib.sha256()
    if size:
        with open(path, "rb") as stream:
            while size and (piece := stream.read(min(size, 1 << 20))):
                digest.update(piece)
                size -= len(piece)
    return digest


def package_of(task: Task) -> str:
    """The name under which a task's repository is kept out of other splits: forks and mirrors share it.

    >>> from repodojo.core.records import Environment, Grader, Source
    >>> package_of(Task("t", Source("s"), "", Environment(), Grader(), repo="https://example.org/me/My_Lib.git"))
    'my-lib'
    """
    named = task.labels.get("package") or task.repo.rstrip("/").removesuffix(".git").rpartition("/")[2]
    return canonical(named or task.source.dataset)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """A full or read-only disk is the user's to mend: one message instead of a traceback."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write under {path}: {error.strerror or error}", way_out="free some space, or name another folder"
        ) from error
