"""Tests that live in docstrings: whether a change touched one that the task is told by.

The agent's text is never parsed here, only the one before, and that once for all episodes that begin with it.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from repodojo.core.records import Task, Trajectory

_HEAD = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
Span = tuple[int, int]
"""First and last line, counted from 0."""


@dataclass
class _Hunk:
    """Where a hunk begins before and now, how many lines it has now, and its lines with their marks."""

    old: int
    new: int
    length: int
    lines: list[str] = field(default_factory=list)


def rewritten(trajectory: Trajectory, task: Task) -> Iterator[str]:
    """Ids of the task's doctests whose docstring was changed, as a whole or in part."""
    ids = dict.fromkeys((*task.visible_tests, *task.grader.fail_to_pass, *task.grader.pass_to_pass))
    for name in ids:
        path, _, qualname = name.removeprefix("doctest:").partition("::")
        after = trajectory.changes.get(path)
        if after is None or not name.startswith("doctest:"):
            continue
        span = _spans(before(trajectory.diff, path, after)).get(qualname)
        if span and any(span[0] <= first and last <= span[1] for first, last in _touched(trajectory.diff, path)):
            yield name


def before(diff: str, path: str, after: str) -> str:
    """The text that a file had before a unified diff, from the one it has now.

    >>> before("--- a/x\\n+++ b/x\\n@@ -1,2 +1,2 @@\\n a\\n-b\\n+c\\n", "x", "a\\nc\\n")
    'a\\nb\\n'
    """
    lines = after.splitlines()
    for hunk in reversed(list(_hunks(diff, path))):
        lines[hunk.new : hunk.new + hunk.length] = [line[1:] for line in hunk.lines if line[:1] in " -"]
    return "".join(f"{line}\n" for line in lines)


def _touched(diff: str, path: str) -> Iterator[Span]:
    """Lines of the text before that are gone, and the two lines around each place where something was put in."""
    for hunk in _hunks(diff, path):
        at = hunk.old
        for line in hunk.lines:
            if line.startswith("+"):
                yield at - 1, at
            else:
                if line.startswith("-"):
                    yield at, at
                at += 1


def _hunks(diff: str, path: str) -> Iterator[_Hunk]:
    inside = False
    hunk: _Hunk | None = None
    for line in [*diff.splitlines(), "--- a/"]:
        if line.startswith(("--- a/", "@@ ")) and hunk:
            yield hunk
            hunk = None
        if line.startswith("--- a/"):
            inside = line == f"--- a/{path}"
        elif inside and (head := _HEAD.match(line)):
            (old, old_length), (new, new_length) = ((int(head[k]), int(head[k + 1] or 1)) for k in (1, 3))
            hunk = _Hunk(old - (old_length > 0), new - (new_length > 0), new_length)
        elif hunk and line[:1] in (" ", "-", "+"):
            hunk.lines.append(line)


@functools.lru_cache(maxsize=1024)
def _spans(source: str) -> Mapping[str, Span]:
    """Lines of each docstring by qualified name; none where the text does not parse."""
    try:
        waiting: list[tuple[str, ast.stmt]] = [("", node) for node in ast.parse(source).body]
    except (SyntaxError, ValueError):
        return {}
    found: dict[str, Span] = {}
    while waiting:
        prefix, node = waiting.pop()
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.ClassDef):
            waiting += [(f"{prefix}{node.name}.", child) for child in node.body]
        first = node.body[0]
        if ast.get_docstring(node) is not None:
            found[prefix + node.name] = (first.lineno - 1, (first.end_lineno or first.lineno) - 1)
    return found
