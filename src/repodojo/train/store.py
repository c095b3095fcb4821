"""Every trajectory of a run in SQLite: columns to ask by, and the whole record, compressed, to read."""

from __future__ import annotations

import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from repodojo.core.codec import from_json, to_json
from repodojo.core.errors import RunError
from repodojo.core.records import Trajectory

COLUMNS = (
    "id",
    "task_id",
    "group_id",
    "policy",
    "stage",
    "step",
    "version",
    "reward",
    "stop_reason",
    "turns",
    "tokens",
    "tests_run",
    "seconds",
)
SCHEMA = """
CREATE TABLE IF NOT EXISTS trajectories (
    id TEXT PRIMARY KEY, task_id TEXT NOT NULL, group_id TEXT NOT NULL, policy TEXT NOT NULL, stage TEXT NOT NULL,
    step INTEGER NOT NULL, version INTEGER NOT NULL, reward REAL, stop_reason TEXT NOT NULL, turns INTEGER NOT NULL,
    tokens INTEGER NOT NULL, tests_run INTEGER NOT NULL, seconds REAL NOT NULL,
    pending INTEGER NOT NULL, record BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_task ON trajectories (task_id);
CREATE INDEX IF NOT EXISTS by_group ON trajectories (group_id);
CREATE INDEX IF NOT EXISTS by_step ON trajectories (stage, step);
CREATE INDEX IF NOT EXISTS by_reward ON trajectories (reward);
CREATE INDEX IF NOT EXISTS by_pending ON trajectories (pending);
"""


class TrajectoryStore:
    """One row a trajectory. `pending` is the number of the commit that a row waits for (see RunDir.commit).

    A writer holds one connection under a lock, so threads may share it; questions go through a second connection
    that cannot write, whatever SQL they carry.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        self._guard = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        if write:
            self._writer = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._writer.execute("PRAGMA journal_mode=WAL")
            self._writer.execute("PRAGMA synchronous=FULL")  # state.json must never be ahead of the rows
            self._writer.executescript(SCHEMA)
        # a WAL database can be read without write access to its folder only if it is taken as immutable
        mode = "mode=ro" if os.access(path.parent, os.W_OK) else "mode=ro&immutable=1"
        self._reader = sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}", uri=True, check_same_thread=False, timeout=30
        )
        self._reader.row_factory = sqlite3.Row

    def add(self, trajectories: Iterable[Trajectory], *, stage: str, step: int, pending: int) -> None:
        """All of them in one transaction; RunError where an id is there already or the disk is full."""
        rows = [(*_columns(t, stage, step), pending, zlib.compress(to_json(t).encode(), 1)) for t in trajectories]
        places = ", ".join("?" * (len(COLUMNS) + 2))
        self._write(f"INSERT INTO trajectories ({', '.join(COLUMNS)}, pending, record) VALUES ({places})", rows)

    def drop_after(self, commit: int) -> None:
        """Forget rows that wait for a later commit than this one."""
        self._write("DELETE FROM trajectories WHERE pending > ?", [(commit,)])

    def copy(self, path: Path) -> None:
        """All of it into a new file; RunError on a full disk."""
        try:
            with self._guard:
                self._reader.execute("VACUUM INTO ?", (str(path),))
        except sqlite3.Error as error:
            raise RunError(f"{path}: {error}", way_out="free some disk") from None

    def query(self, where: str = "1", params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The columns of matching rows: `query("task_id = ? ORDER BY reward DESC LIMIT 5", [id])`."""
        try:
            with self._guard:
                rows = self._reader.execute(
                    f"SELECT {', '.join(COLUMNS)} FROM trajectories WHERE {where}", tuple(params)
                ).fetchall()
        except sqlite3.Error as error:
            raise RunError(f"{self.path}: {error}", way_out=f"columns are {', '.join(COLUMNS)}") from None
        return [dict(row) for row in rows]

    def load(self, trajectory_id: str) -> Trajectory:
        """The whole record; RunError where there is none of that id."""
        with self._guard:
            row = self._reader.execute("SELECT record FROM trajectories WHERE id = ?", (trajectory_id,)).fetchone()
        if row is None:
            raise RunError(f"no trajectory {trajectory_id} in {self.path}", way_out="list ids with query()")
        return from_json(Trajectory, zlib.decompress(row[0]), where=trajectory_id)

    def close(self) -> None:
        """Safe to call twice."""
        self._reader.close()
        if self._writer:
            self._writer.close()
            self._writer = None

    def _write(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        if self._writer is None:
            raise RunError(f"{self.path} is open for reading only", way_out="open the run with RunDir.resume")
        with self._guard:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                self._writer.executemany(sql, rows)
                self._writer.execute("COMMIT")
            except sqlite3.Error as error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                full = "full" in str(error)
                way_out = (
                    "free some disk and resume the run" if full else "resume the run; nothing of this batch was kept"
                )
                raise RunError(f"{self.path}: {error}", way_out=way_out) from None


def _columns(t: Trajectory, stage: str, step: int) -> tuple[Any, ...]:
    version = max((v for turn in t.turns for v in turn.versions), default=0)
    tokens = sum(len(turn.action_ids) for turn in t.turns)
    return (
        *(t.id, t.task_id, t.group_id, t.policy, stage, step, version, t.score.value, t.stop_reason),
        *(len(t.turns), tokens, int(t.ran_tests()), t.seconds),
    )
