"""What a validation has seen so far, beside the set: one that was stopped goes on, one that ended begins anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repodojo.tasks.store import disk_errors

FILE = ".validating.jsonl"


class Checked:
    """Rows by task id. `mark` says what is checked (the set's hash, what was drawn of it); others' rows are dropped."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.path = folder / FILE
        self.known: dict[str, dict[str, Any]] = {}
        rows = list(self._rows())
        if rows[:1] == [{"of": mark}]:
            self.known = {row["id"]: row for row in rows[1:]}
        with disk_errors(folder):
            self.path.write_text("".join(json.dumps(row) + "\n" for row in ({"of": mark}, *self.known.values())))

    def _rows(self) -> list[dict[str, Any]]:
        found = []
        for line in self.path.read_bytes().splitlines() if self.path.is_file() else ():
            try:
                found.append(json.loads(line))
            except ValueError:  # the last line, where it was cut off
                break
        return found

    def keep(self, row: Mapping[str, Any]) -> None:
        """Append a row."""
        with disk_errors(self.path.parent), open(self.path, "a") as stream:
            stream.write(json.dumps(row) + "\n")

    def end(self) -> None:
        """All is checked: the next validation begins anew."""
        self.path.unlink(missing_ok=True)
