"""A task that is a folder, as a row: its files by path, text or {"base64": ...}, and what else a folder holds."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

from repodojo.core.errors import TaskError
from repodojo.tasks.formats.base import Row, RowError

NAME, MODES, EMPTY = "/name", "/executable", "/empty"
"""Keys that no file can have: the folder's name, which files are executable, which folders are empty."""
LARGEST = 64 << 20
MARKERS = ("task.toml", "task.yaml")


def task_folders(path: Path) -> list[Path]:
    """The folders of tasks at or below a folder, sorted."""
    if any((path / name).is_file() for name in MARKERS):
        return [path]
    found: list[Path] = []
    for folder, below, files in os.walk(path):
        below.sort()
        if any(name in files for name in MARKERS):
            found.append(Path(folder))
            below.clear()
    return found


def read_folder(path: Path) -> Row:
    """A folder as a row. RowError names a file that cannot be kept (a link, a device, one of more than 64 MiB)."""
    row: Row = {NAME: path.resolve().name}
    executable: list[str] = []
    empty: list[str] = []
    for item in sorted(path.rglob("*")):
        relative = item.relative_to(path).as_posix()
        if item.is_symlink() or not (item.is_dir() or item.is_file()):
            raise RowError(relative, "is a link or a device")
        if item.is_dir():
            empty += [relative] if not any(item.iterdir()) else []
            continue
        if item.stat().st_size > LARGEST:
            raise RowError(relative, f"is larger than {LARGEST >> 20} MiB")
        data = item.read_bytes()
        try:
            row[relative] = data.decode()
        except UnicodeDecodeError:
            row[relative] = {"base64": base64.b64encode(data).decode()}
        executable += [relative] if item.stat().st_mode & 0o100 else []
    return row | ({MODES: executable} if executable else {}) | ({EMPTY: empty} if empty else {})


def write_folder(row: Row, parent: Path) -> Path:
    """Write a row as a folder below `parent`; TaskError where a name leads out of it or the folder is there."""
    name = str(row[NAME])
    folder = parent / name
    if "/" in name or name in ("", ".", ".."):
        raise TaskError(f"{name!r} cannot name a folder", way_out="leave that task out")
    if folder.exists():
        raise TaskError(f"{folder} is there already", way_out="name an empty folder")
    for path in (*(key for key, _ in _files(row)), *row.get(EMPTY, ())):
        if path.startswith("/") or ".." in Path(path).parts:
            raise TaskError(f"{name}: {path!r} leads out of the folder", way_out="leave that task out")
    for path, data in _files(row):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(0o755 if path in row.get(MODES, ()) or (path.endswith("test.sh") and MODES not in row) else 0o644)
    for path in row.get(EMPTY, ()):
        (folder / path).mkdir(parents=True, exist_ok=True)
    return folder


def _files(row: Row) -> Iterator[tuple[str, bytes]]:
    for path, value in row.items():
        if path not in (NAME, MODES, EMPTY):
            yield path, value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])
