"""Project memory: notes that agents write in a repository and later episodes there are shown.

What keeps it honest: notes of dev and held-out tasks never leave their split; no task sees notes of its own other
attempts; and a note that quotes the answer of the task that wrote it, or of the task that would read it, is withheld
(four tokens running of a changed line of the reference patch, see `quotes`). Members of a group see the same notes.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from repodojo.core.errors import RunError
from repodojo.core.records import Task

MOST_CHARS = 300  # of one note
MOST_A_TASK = 3  # notes of one episode
MOST_KEPT = 500  # notes of one repository; the oldest go
MOST_SHOWN = 8
RUN_OF = 4  # tokens of an answer in a row that make a note a quotation

_TOKEN = re.compile(r"\w+|[^\w\s]")
SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (
    id INTEGER PRIMARY KEY, repo TEXT NOT NULL, split TEXT NOT NULL, task_id TEXT NOT NULL, episode TEXT NOT NULL,
    version INTEGER NOT NULL, created REAL NOT NULL, about TEXT NOT NULL, text TEXT NOT NULL, clean INTEGER NOT NULL,
    UNIQUE (repo, task_id, text)
);
CREATE INDEX IF NOT EXISTS by_repo ON notes (repo);
CREATE TABLE IF NOT EXISTS shown (group_id TEXT PRIMARY KEY, ids TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Note:
    """A note and where it came from. `version` is the policy's; `clean`: it is known to quote no answer of its task."""

    repo: str
    split: str
    task_id: str
    episode: str
    version: int
    created: float
    about: str
    text: str
    clean: bool
    id: int = 0


def repository(task: Task) -> str:
    """What tasks of one project have in common, whatever their base commits.

    A made task names its data set ("toolz==1.0.0"), a task of history its repository.
    """
    return task.repo or task.source.dataset.partition("==")[0]


def quotes(text: str, task: Task) -> bool:
    """Whether `text` holds RUN_OF tokens running of a changed line of the task's reference (all of a shorter line)."""
    if task.gold is None:
        return False
    said = _TOKEN.findall(text)
    runs = {size: {tuple(said[i : i + size]) for i in range(len(said) - size + 1)} for size in range(2, RUN_OF + 1)}
    for line in task.gold.patch.splitlines():
        if not line.startswith(("+", "-")) or line.startswith(("+++", "---")):
            continue
        tokens = _TOKEN.findall(line[1:])
        size = min(len(tokens), RUN_OF)
        if size > 1 and any(tuple(tokens[i : i + size]) in runs[size] for i in range(len(tokens) - size + 1)):
            return True
    return False


def readable(note: Note, task: Task) -> bool:
    """Whether an episode of `task` may be shown `note`."""
    crosses = note.split != task.source.split
    if note.repo != repository(task) or note.task_id == task.id or (crosses and note.split != "train"):
        return False
    if crosses and task.gold is None:  # whether it quotes the answer cannot be told
        return False
    return note.clean and not quotes(f"{note.text} {note.about}", task)


def as_text(notes: Iterable[Note]) -> str:
    """Notes as the prompt shows them; "" where there are none."""
    lines = [f"- {note.about}: {note.text}" if note.about else f"- {note.text}" for note in notes]
    return "\n".join(["Notes from other work on this repository:", *lines]) if lines else ""


class Memory:
    """Notes in an SQLite file that workers share. Without `writes` nothing changes: evaluation only reads.

    RunError where the file cannot be used.
    """

    def __init__(self, path: Path, *, writes: bool) -> None:
        self.path, self.writes = path, writes
        if writes:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as db:
                db.execute("PRAGMA journal_mode=WAL")
                db.executescript(SCHEMA)
        elif not path.is_file():
            raise RunError(
                f"there is no memory at {path}", way_out="name one with agent.memory, or train with it first"
            )

    def _open(self) -> sqlite3.Connection:
        mode = "rwc" if self.writes else "ro"
        try:
            where = f"{self.path.absolute().as_uri()}?mode={mode}"
            return sqlite3.connect(where, uri=True, isolation_level=None, timeout=30)
        except sqlite3.Error as error:
            raise RunError(f"{self.path}: {error}", way_out="name another file with agent.memory") from None

    def add(self, note: Note) -> None:
        """Keep a note; one that says the same of the same task is kept once, and the oldest go beyond MOST_KEPT."""
        if not self.writes:
            return
        with closing(self._open()) as db:
            marks = ", ".join("?" * 9)
            names = "repo, split, task_id, episode, version, created, about, text, clean"
            db.execute(f"INSERT OR IGNORE INTO notes ({names}) VALUES ({marks})", astuple(note)[:9])
            db.execute(
                "DELETE FROM notes WHERE repo = ? AND id NOT IN "
                "(SELECT id FROM notes WHERE repo = ? ORDER BY id DESC LIMIT ?)",
                (note.repo, note.repo, MOST_KEPT),
            )

    def notes(self, repo: str = "") -> list[Note]:
        """All notes, or one repository's, oldest first."""
        names = [field.name for field in fields(Note)]
        query = f"SELECT {', '.join(names)} FROM notes WHERE ? IN ('', repo) ORDER BY id"
        with closing(self._open()) as db:
            rows = [dict(zip(names, row, strict=True)) for row in db.execute(query, (repo,))]
        return [Note(**{**row, "clean": bool(row["clean"])}) for row in rows]

    def forget(self, ids: Iterable[int]) -> int:
        """Drop notes; how many there were."""
        with closing(self._open()) as db:
            return sum(db.execute("DELETE FROM notes WHERE id = ?", (number,)).rowcount for number in ids)

    def shown(self, task: Task, group: str) -> list[Note]:
        """What an episode is shown: the newest readable notes. The first of a group decides for all of it.

        Else members would be compared that were not told the same. A group that is played again is told the same.
        """
        found = [note for note in self.notes(repository(task)) if readable(note, task)]
        if not self.writes or not group:
            return found[-MOST_SHOWN:]
        chosen = ",".join(str(note.id) for note in found[-MOST_SHOWN:])
        with closing(self._open()) as db:
            db.execute("INSERT OR IGNORE INTO shown VALUES (?, ?)", (group, chosen))
            ids = db.execute("SELECT ids FROM shown WHERE group_id = ?", (group,)).fetchone()[0].split(",")
        return [note for note in found if str(note.id) in ids]
