"""What a process score looks at: the repository before, the files after, and the episode."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from repodojo.core.records import Task, Trajectory


@dataclass(frozen=True)
class Work:
    """A solved task's work. Texts by path, relative to the repository's root.

    base: every Python file of the repository before;  configuration: ruff's settings there
    tokens_target: sampled tokens that an episode may use at no cost
    changed: the admissible changes (None: deleted);  touched: all changes, refused ones too
    """

    task: Task
    base: Mapping[str, str]
    changed: Mapping[str, str | None]
    touched: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    configuration: Mapping[str, str] = field(default_factory=dict)
    trajectory: Trajectory | None = None
    tokens_target: int = 1000

    def python(self) -> dict[str, str]:
        """The changed Python files that are still there."""
        return {path: text for path, text in self.changed.items() if text is not None and path.endswith(".py")}

    def after(self) -> dict[str, str]:
        """Every Python file of the repository after the changes."""
        kept = {path: text for path, text in self.base.items() if path not in self.changed}
        return {**kept, **self.python()}


def added(before: str, after: str) -> list[tuple[int, int]]:
    """Runs of lines of `after` that `before` lacks, as (first, past the last), counted from 0.

    >>> added("a\\nb\\n", "a\\nx\\ny\\nb\\n")
    [(1, 3)]
    """
    return [(j, k) for tag, _, _, j, k in _opcodes(before, after) if tag in ("insert", "replace")]


def touched_lines(before: str, after: str) -> int:
    """Lines added plus lines removed, as `git diff --numstat` counts them."""
    return sum((i2 - i1) + (j2 - j1) for tag, i1, i2, j1, j2 in _opcodes(before, after) if tag != "equal")


def _opcodes(before: str, after: str) -> list[tuple[str, int, int, int, int]]:
    lines = (before.splitlines(), after.splitlines())
    return [tuple(code) for code in difflib.SequenceMatcher(None, *lines, autojunk=False).get_opcodes()]  # type: ignore[misc]
