"""Small file habits that survive `kill -9`: whole replacement, whole lines, and a lock that dies with its holder."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from repodojo.core.errors import RunError

_held: set[Path] = set()


class Lock:
    """One writer a run. The kernel drops a record lock when its process dies, so no stale one can remain.

    Record locks (fcntl) rather than flock: a child that is forked does not inherit them, so a worker that outlives
    a killed parent does not keep the run. They do not hold within one process, hence `_held`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        if self.path in _held:
            raise RunError(f"{path.parent} is already open in this process", way_out="close it first")
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._file, 64, 0).decode(errors="replace").strip() or "another process"
            os.close(self._file)
            raise RunError(f"{path.parent} is in use by {holder}", way_out="wait for it, or stop it") from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"process {os.getpid()}\n".encode(), 0)
        _held.add(self.path)

    def release(self) -> None:
        """Safe to call twice."""
        if self.path in _held:
            _held.discard(self.path)
            os.ftruncate(self._file, 0)
            os.close(self._file)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file whole, durable before this returns; RunError where the disk is full."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{path}: {error.strerror}", way_out="free some disk and resume the run") from None


def append_line(path: Path, line: str) -> None:
    """Add one line; on failure the file is cut back to where it was."""
    with path.open("ab", buffering=0) as file:  # a buffer would try again when it is closed
        before, rest = file.tell(), line.encode() + b"\n"
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError as error:
            os.truncate(path, before)
            raise RunError(f"{path}: {error.strerror}", way_out="free some disk and resume the run") from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file of lines. A last line without its end was torn by a kill and is left out."""
    if not path.exists():
        return []
    *lines, _torn = path.read_bytes().split(b"\n")
    try:
        return [json.loads(line) for line in lines if line.strip()]
    except ValueError as error:
        raise RunError(f"{path}: a line is not JSON: {error}", way_out="remove that line") from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
