"""Multi-SWE-bench: pull requests in several languages, with four classes of tests (f2p, s2p, n2p, p2p).

Traps: all classes are kept (failed, skipped or absent before, passed after); each is a map from a test to its status
in three runs, or, from some hosts, a map of columns.
"""

from __future__ import annotations

from typing import Any

from repodojo.core.records import Environment, Gold, Grader, Source, Task
from repodojo.tasks.formats.base import Format, Row, RowError, fix_patch, parsed, plain, pytest_names, refuse, text

CLASSES = ("f2p_tests", "s2p_tests", "n2p_tests", "p2p_tests")


def read(row: Row, source: Source) -> Task:
    """A row of Multi-SWE-bench or Multi-SWE-RL."""
    org, repo, number = text(row, "org", needed=True), text(row, "repo", needed=True), row.get("number")
    if not isinstance(number, int) or isinstance(number, bool):
        raise RowError("number", "is not the number of a pull request")
    base = parsed(row, "base", dict) or {}
    groups = {name: _tests(row, name) for name in CLASSES}
    kinds = {test: name for name, tests in groups.items() for test in tests}
    red = tuple(test for name in CLASSES[:3] for test in groups[name])
    if not red:
        raise RowError("f2p_tests", "no test fails, is skipped or is absent before, and passes after")
    return Task(
        id=text(row, "instance_id") or f"{org}__{repo}-{number}",
        source=source,
        instruction=_issues(row) or f"{text(row, 'title')}\n\n{text(row, 'body')}".strip(),
        environment=Environment(
            recipe={"kind": "multi-swe", "number": number},
            image=f"mswebench/{org}_m_{repo}:pr-{number}".lower(),
            work_dir=f"/home/{repo}",
        ),
        grader=Grader(
            "f2p_p2p", "bash /home/fix-run.sh", "multi-swe", red, tuple(groups["p2p_tests"]), kinds, timeout=1800.0
        ),
        gold=Gold(text(row, "fix_patch", needed=True)),
        repo=f"{org}/{repo}",
        base_commit=str(base.get("sha") or ""),
        language=text(row, "lang") or text(row, "language") or "unknown",
        hints=text(row, "hints"),
        test_patch=text(row, "test_patch"),
    )


def _tests(row: Row, name: str) -> list[str]:
    value: Any = parsed(row, name, (dict, list)) or {}
    if isinstance(value, dict) and isinstance(value.get("name"), list):
        value = value["name"]
    if not all(isinstance(test, str) for test in value):
        raise RowError(name, "holds something that is not a test's name")
    return list(value)


def _issues(row: Row) -> str:
    """The issues that the pull request resolves."""
    issues = parsed(row, "resolved_issues", (list, dict)) or []
    if not isinstance(issues, list) or not all(isinstance(issue, dict) for issue in issues):
        return ""
    return "\n\n".join(f"{issue.get('title') or ''}\n\n{issue.get('body') or ''}".strip() for issue in issues)


def write(task: Task) -> Row:
    """Multi-SWE-bench's columns, as far as a task has them."""
    refuse(task, "multi-swe", "f2p_p2p")
    number = task.environment.recipe.get("number")
    if not isinstance(number, int):
        raise RowError("number", "the task comes from no pull request")
    org, _, repo = task.repo.partition("/")
    kinds = plain(dict(task.grader.expected))
    row: Row = {"org": org, "repo": repo, "number": number, "fix_patch": fix_patch(task)}
    row |= {"test_patch": task.test_patch, "instance_id": task.id, "lang": task.language, "hints": task.hints}
    for name in CLASSES[:3]:
        tests = [test for test in task.grader.fail_to_pass if kinds.get(test, "f2p_tests") == name]
        row[name] = {test: {"fix": "PASS"} for test in pytest_names(tuple(tests))}
    return row | {"p2p_tests": {test: {"fix": "PASS"} for test in pytest_names(task.grader.pass_to_pass)}}


def _matches(row: Row) -> bool:
    return {"org", "repo", "number", "fix_patch"} <= row.keys()


MULTI_SWE = Format("multi-swe", "Multi-SWE-bench, Multi-SWE-RL", _matches, read, write)
