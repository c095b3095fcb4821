"""The instruction: what the commit (or the issue it names) says, without what would give the answer away."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from repodojo.core.errors import TaskError
from repodojo.tasks.formats import RowError, rows

TRAILER = re.compile(
    r"^(signed-off-by|co-authored-by|reviewed-by|acked-by|tested-by|reported-by|cc|change-id|git-svn-id)\s*:.*$",
    re.IGNORECASE | re.MULTILINE,
)
PICKED = re.compile(r"^\(?(cherry[- ]picked from|from-svn:|merge pull request|this reverts commit).*$", re.I | re.M)
LINK = re.compile(r"<?\b(?:https?|git|ssh)://[^\s>)\]]+>?|\bwww\.[^\s>)\]]+")
CLOSING = re.compile(
    r"[,;]?[ \t]*\(?(?:\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?|refs?|see|issues?|pr|gh|bug)\b[ \t:-]*)*#\d+\)?",
    re.IGNORECASE,
)
COMMIT = re.compile(r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b")
NUMBER = re.compile(r"#(\d+)")
TEST_PATH = re.compile(
    r"[\w./-]*\b(?:test_\w+|\w+_tests?)\.py(?:::[\w\[\]:.-]+)?|\btests?/[\w./-]+|[\w./-]*[._-]test\.[cm]?js\b"
)


def clean(text: str, tests: Collection[str] = ()) -> str:
    """The text without trailers, links, issue numbers, commit ids, and names of tests.

    >>> clean("Handle no input (#12)\\n\\nAs test_empty shows since 1a2b3c4\\n\\nCc: A <a@b.c>", ["test_empty"])
    'Handle no input\\n\\nAs shows since'
    """
    for pattern in (TRAILER, PICKED, LINK, CLOSING, COMMIT, TEST_PATH):
        text = pattern.sub("", text)
    for name in sorted(tests, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)(?:\[[^\]]*\])?", "", text)
    text = "\n".join(re.sub(r"[ \t]{2,}", " ", row).rstrip() for row in text.splitlines())
    text = re.sub(r"\(\s*\)|\[\s*\]", "", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def instruction(message: str, issues: Mapping[int, str], failing: str, tests: Collection[str]) -> str:
    """What the agent is told: the issue that the message names where it is known, else the message; then the output."""
    named = [issues[int(number)] for number in NUMBER.findall(message) if int(number) in issues]
    said = clean(named[0] if named else message, tests)
    shown = clean(failing, tests)
    return f"{said}\n\nIt now fails like this:\n{shown}\n" if shown else f"{said}\n"


def words(text: str) -> int:
    """Words of a message that say something."""
    return len(re.findall(r"[A-Za-z][\w'-]+", text))


def read_issues(path: Path) -> dict[int, str]:
    """Issues by number, from rows with `number`, `title` and `body`; TaskError names a row that is not so."""
    found: dict[int, str] = {}
    for where, row in rows.read(path):
        if isinstance(row, RowError):
            raise TaskError(f"{path.name}, {where}: {row.cause}", way_out="give rows with number, title and body")
        number: Any = row.get("number")
        if not isinstance(number, int) or not isinstance(row.get("title"), str):
            raise TaskError(
                f"{path.name}, {where}: no number or title in {json.dumps(row)[:80]}",
                way_out="give rows with number, title and body",
            )
        found[number] = f"{row['title']}\n\n{row.get('body') or ''}".strip()
    return found
