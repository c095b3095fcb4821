"""Tests that live in docstrings: whether a change rewrote one that the task is told by."""

from __future__ import annotations

import re
from collections.abc import Iterator

from repodojo.core.records import Task, Trajectory
from repodojo.rewards.docstrings import docstrings

_HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")


def rewritten(trajectory: Trajectory, task: Task) -> Iterator[str]:
    """Ids of the task's doctests whose docstring differs from what it was; none where a file does not parse."""
    ids = dict.fromkeys((*task.visible_tests, *task.grader.fail_to_pass, *task.grader.pass_to_pass))
    texts: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    for name in ids:
        if not name.startswith("doctest:"):
            continue
        path, _, qualname = name.removeprefix("doctest:").partition("::")
        after = trajectory.changes.get(path)
        if after is None:
            continue
        if path not in texts:
            texts[path] = _docstrings(before(trajectory.diff, path, after)), _docstrings(after)
        old, new = texts[path]
        if qualname in old and new and new.get(qualname) != old[qualname]:
            yield name


def before(diff: str, path: str, after: str) -> str:
    """The text that a file had before a unified diff, from the one it has now.

    >>> before("--- a/x\\n+++ b/x\\n@@ -1,2 +1,2 @@\\n a\\n-b\\n+c\\n", "x", "a\\nc\\n")
    'a\\nb\\n'
    """
    lines = after.splitlines()
    for first, length, old in reversed(list(_hunks(diff, path))):
        lines[first : first + length] = old
    return "".join(f"{line}\n" for line in lines)


def _hunks(diff: str, path: str) -> Iterator[tuple[int, int, list[str]]]:
    """(first line now, lines now, lines before) of each hunk of a file, counted from 0."""
    inside = False
    hunk: tuple[int, int, list[str]] | None = None
    for line in [*diff.splitlines(), "--- a/"]:
        if line.startswith(("--- a/", "@@ ")) and hunk:
            yield hunk
            hunk = None
        if line.startswith("--- a/"):
            inside = line == f"--- a/{path}"
        elif inside and (head := _HUNK.match(line)):
            length = int(head[2] or 1)
            hunk = int(head[1]) - (length > 0), length, []
        elif hunk and line[:1] in (" ", "-"):
            hunk[2].append(line[1:])


def _docstrings(source: str) -> dict[str, str]:
    try:
        return docstrings(source)
    except (RecursionError, MemoryError):  # text made to break the parser
        return {}
