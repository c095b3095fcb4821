"""What an import remembers of its sessions, on disk: a hundred thousand rows take no more memory than ten."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repodojo.tasks.feedback import rules

_TABLE = """
create table sessions (
    id text primary key, task text, outcome text, score real, calls int, errors int, tokens int, place int, text text
) without rowid
"""


@dataclass(frozen=True)
class OfTask:
    """What is known of one task. `tool_error_rate` is None where no tool was called; `tokens` is the mean a session."""

    task: str
    sessions: int
    score: float
    weight: float
    tool_error_rate: float | None
    tokens: float


class Ledger:
    """Sessions by id; a context manager. Texts stay in the written file: here are their digests and places."""

    def __init__(self, folder: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=".feedback-", dir=folder)
        self._db = sqlite3.connect(Path(self._folder.name) / "ledger.sqlite")
        self._db.execute("pragma journal_mode = off")
        self._db.execute("pragma synchronous = off")
        self._db.execute(_TABLE)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._folder.cleanup()

    def add(
        self, name: str, task: str, outcome: str, score: float, counts: tuple[int, int, int], at: int, text: str
    ) -> bool:
        """Keep one session; `counts` are tool calls, tool errors, tokens. False where the id is there already."""
        row = (name, task, outcome, score, *counts, at, text)
        return self._db.execute("insert or ignore into sessions values (?, ?, ?, ?, ?, ?, ?, ?, ?)", row).rowcount > 0

    def tasks(self) -> Iterator[OfTask]:
        """Every task, in the order of ids."""
        query = (
            "select task, count(*), avg(score), sum(1 - score), sum(calls), sum(errors), "
            "avg(case when tokens > 0 then tokens end) from sessions group by task order by task"
        )
        for task, sessions, mean, lost, calls, errors, tokens in self._db.execute(query):
            rate = errors / calls if calls else None
            yield OfTask(task, sessions, mean, rules.weight(sessions, lost), rate, tokens or 0.0)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Places of the best and the worst session of each task that makes a pair; ties go to fewer tokens."""
        wanted = "select place, score, text, tokens, task from sessions where text <> ''"
        query = f"{wanted} order by task, score desc, tokens, id"
        first: tuple[int, float, str, int, str] | None = None
        last = first
        for row in self._db.execute(query):
            if first is None or row[4] != first[4]:
                yield from _pair(first, last)
                first = row
            last = row
        yield from _pair(first, last)

    def outcomes(self) -> dict[str, int]:
        """Sessions by outcome."""
        return dict(self._db.execute("select outcome, count(*) from sessions group by outcome order by outcome"))

    def median_tokens(self) -> int:
        """Of sessions whose work was kept or accepted; 0 where none says its tokens."""
        where = "from sessions where tokens > 0 and outcome in ('kept', 'accepted')"
        (count,) = self._db.execute(f"select count(*) {where}").fetchone()
        found = self._db.execute(
            f"select tokens {where} order by tokens limit 1 offset ?", ((count - 1) // 2,)
        ).fetchone()
        return int(found[0]) if found else 0

    def tool_error_rate(self) -> float | None:
        """Of all calls; None where there were none."""
        calls, errors = self._db.execute("select sum(calls), sum(errors) from sessions").fetchone()
        return errors / calls if calls else None


def _pair(
    best: tuple[int, float, str, int, str] | None, worst: tuple[int, float, str, int, str] | None
) -> Iterator[tuple[int, int]]:
    if best and worst and best[1] - worst[1] >= rules.MARGIN and best[2] != worst[2]:
        yield best[0], worst[0]
