"""What a grader is given of a run, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from repodojo.core.records import Grader, Score, Task

RESULT = "REPODOJO_RESULT"
"""The variable that names, to a grader's command, the file in which it may leave its result; drawn anew each run."""


@dataclass(frozen=True)
class Ran:
    """A command that ended by itself: its exit code, its output, what it wrote to the box's private descriptor, and
    the files that the grader asked for by their name in `Judge.files`; one that is not there is left out."""

    exit_code: int
    output: bytes
    files: Mapping[str, bytes] = field(default_factory=dict)
    report: bytes = b""


class Judge(Protocol):
    """One kind of grader, in a module of its own. `variables` are given to the command beside the environment's."""

    def files(self, task: Task, result: str) -> dict[str, str]:
        """Paths to read after the run, by name; what lies there before it is removed. `result` is RESULT's value."""
        ...

    def variables(self, task: Task, result: str) -> dict[str, str]: ...

    def score(self, task: Task, ran: Ran) -> Score:
        """The verdict. What is missing or malformed is the code's own doing: 0, never None."""
        ...


def verdict(paid: bool, **parts: float) -> Score:
    """All or nothing."""
    return Score(float(paid), parts=parts)


def by_status(statuses: Mapping[str, str], wanted: Sequence[str], grader: Grader) -> Score:
    """All of `wanted` passed, and every id of the grader's two lists among them; shares as TestReward tells them."""
    passed = tuple(name for name in wanted if statuses.get(name) == "PASSED")
    failed = tuple(name for name in wanted if statuses.get(name) != "PASSED")
    parts = {
        part: sum(statuses.get(name) == "PASSED" for name in ids) / len(ids)
        for part, ids in (("f2p", grader.fail_to_pass), ("p2p", grader.pass_to_pass))
        if ids
    }
    return Score(float(bool(wanted) and not failed), parts=parts, passed=passed, failed=failed)
