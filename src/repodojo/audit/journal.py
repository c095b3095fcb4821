"""What an audit has found out already, kept in a file, so that a long one goes on where it was stopped.

A line a verdict: {"of": ..., "key": [...], "found": {...}}. `of` stands for all that the verdicts rest on: settings,
and the code that grades, makes boxes and attacks. Lines of another code or other settings are passed over, never
trusted; a last line that was torn by a kill is passed over too.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import repodojo
from repodojo.core.codec import to_json
from repodojo.core.digest import fingerprint
from repodojo.core.errors import UserError
from repodojo.core.records import Task

JUDGING = ("core", "sandbox", "rewards", "audit", "tasks/mutate")
"""Folders of this package whose code verdicts rest on."""


class Journal:
    """Verdicts by key. With no path nothing is kept, and nothing known.

    >>> journal = Journal(None, "")
    >>> journal.put(("task", "attack"), {"paid": False}); journal.get(("task", "attack")) is None
    True
    """

    def __init__(self, path: Path | None, of: str) -> None:
        self._of = of
        self._known: dict[tuple[str, ...], dict[str, Any]] = {}
        self._file: IO[str] | None = None
        if path is None:
            return
        try:
            text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path} cannot be kept: {error.strerror}", way_out="name a file to write to") from None
        self._known = dict(_lines(text, of))
        if text and not text.endswith("\n"):
            self._file.write("\n")

    def get(self, key: Sequence[str]) -> dict[str, Any] | None:
        """What was found under a key."""
        return self._known.get(tuple(key))

    def put(self, key: Sequence[str], found: Mapping[str, Any]) -> None:
        """Keep a verdict; it is in the file when this returns."""
        if self._file is not None:
            self._known[tuple(key)] = dict(found)
            self._file.write(json.dumps({"of": self._of, "key": list(key), "found": dict(found)}) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


def _lines(text: str, of: str) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    found = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
            if row["of"] == of:
                found.append((tuple(row["key"]), dict(row["found"])))
        except (ValueError, TypeError, KeyError):
            continue  # torn, or none of ours
    return found


def basis(*settings: object) -> str:
    """A digest of settings and of the code that judges."""
    return digest(_code(), *map(repr, settings))


def of_task(task: Task) -> str:
    """A digest of a task as it is now."""
    return digest(to_json(task))


def digest(*parts: str | bytes) -> str:
    """A short hash of several texts."""
    state = hashlib.blake2b(digest_size=12)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "big") + data)
    return state.hexdigest()


@functools.cache
def _code() -> str:
    root = Path(repodojo.__file__).parent
    files = sorted(path for name in JUDGING for path in (root / name).rglob("*") if path.suffix in (".py", ".c", ".h"))
    return fingerprint({path.relative_to(root).as_posix(): path.read_bytes() for path in files})
