"""`junit`: the command leaves a JUnit report in $REPODOJO_RESULT, e.g. `pytest --junitxml="$REPODOJO_RESULT" tests`.

Every id of fail_to_pass and pass_to_pass must be a case that passed; without ids, all cases, of which there must be
one. A skip is no pass, of two cases under one name the worse counts, the number of cases must be the one that the
suites claim, and the exit code must be 0. An id is written as `tests/test_a.py::Class::test` or dotted, from any
part of it on. Forgeable by code that shares a process with the runner: it can make pytest write what it likes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from repodojo.core.records import Score, Task
from repodojo.rewards.graders.base import Ran, by_status

ORDER = ("PASSED", "SKIPPED", "FAILED", "ERROR")
"""From good to bad; of two cases under one name the worse counts."""
ENDS = {"failure": "FAILED", "error": "ERROR", "skipped": "SKIPPED"}


class JUnit:
    """Cases of a JUnit report."""

    def files(self, task: Task, result: str) -> dict[str, str]:
        return {"junit": task.grader.expected.get("report", result)}

    def variables(self, task: Task, result: str) -> dict[str, str]:
        return {}

    def score(self, task: Task, ran: Ran) -> Score:
        found = cases(ran.files.get("junit", b""))
        if found is None:
            return Score(0.0, parts={"evidence:no whole report": 1.0})
        wanted = (*task.grader.fail_to_pass, *task.grader.pass_to_pass)
        statuses = under(wanted, found) if wanted else found
        score = by_status(statuses, wanted or tuple(found), task.grader)
        if score.solved and ran.exit_code != 0:
            return Score(0.0, parts={"evidence:exit status": 1.0}, failed=score.passed)
        return score


def cases(data: bytes) -> dict[str, str] | None:
    """Status by `classname.name`; None where the report is not whole, or brings entities of its own."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        return None
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError):
        return None
    suites = [root] if root.tag == "testsuite" else root.findall("testsuite")
    found: dict[str, str] = {}
    for suite in suites:
        inside = suite.findall("testcase")
        if suite.get("tests") != str(len(inside)):
            return None
        for case in inside:
            name = ".".join(part for part in (case.get("classname"), case.get("name")) if part)
            found[name] = max(found.get(name, "PASSED"), _status(case), key=ORDER.index)
    return found if suites else None


def _status(case: ElementTree.Element) -> str:
    return max((ENDS[child.tag] for child in case if child.tag in ENDS), key=ORDER.index, default="PASSED")


def under(wanted: Sequence[str], found: dict[str, str]) -> dict[str, str]:
    """Statuses by the spelling that was wanted; an id that means no case, or two, is left out.

    >>> under(["tests/test_a.py::T::test_x", "test_y"], {"tests.test_a.T.test_x": "PASSED", "a.test_y": "FAILED"})
    {'tests/test_a.py::T::test_x': 'PASSED', 'test_y': 'FAILED'}
    """
    by_spelling: dict[str, set[str]] = {}
    for name in found:
        for spelling in spellings(name):
            by_spelling.setdefault(spelling, set()).add(name)
    meant = {name: by_spelling.get(name, set()) for name in wanted}
    return {name: found[next(iter(names))] for name, names in meant.items() if len(names) == 1}


def spellings(name: str) -> Iterator[str]:
    """How an id may name the case `tests.test_a.T.test_x`; a parameter's text is never split."""
    plain, bracket, rest = name.partition("[")
    parts = plain.split(".")
    tail = bracket + rest
    for start in range(len(parts)):
        yield ".".join(parts[start:]) + tail
        yield "::".join(parts[start:]) + tail
        if start:
            yield "/".join(parts[:start]) + ".py::" + "::".join(parts[start:]) + tail
