"""SWE-smith: `patch` introduces the bug, so the gold patch is its reverse.

Traps: `repo` is a mirror ("swesmith/owner__name.commit"); a bug patch that touches a file of FAIL_TO_PASS leaves
nothing to solve, since the tests come from the broken branch: such tasks are labelled "unsolvable" with the reason.
"""

from __future__ import annotations

import re

from repodojo.core.records import Environment, Gold, Grader, Source, Task
from repodojo.tasks.formats.base import Format, Row, bug_patch, names, pytest_names, refuse, text
from repodojo.tasks.patches import paths

MIRROR = re.compile(r"^(?:[\w.-]+/)?(?P<owner>[\w.-]+?)__(?P<name>[\w.-]+)\.(?P<commit>[0-9a-f]{6,40})$")


def original(mirror: str) -> tuple[str, str]:
    """The repository behind a mirror and its commit; the name as it is, and "", where it is none.

    >>> original("swesmith/oauthlib__oauthlib.1fd52536")
    ('oauthlib/oauthlib', '1fd52536')
    """
    found = MIRROR.match(mirror)
    return (f"{found['owner']}/{found['name']}", found["commit"]) if found else (mirror, "")


def read(row: Row, source: Source) -> Task:
    """A row of SWE-smith."""
    name, mirror = text(row, "instance_id", needed=True), text(row, "repo", needed=True)
    patch = text(row, "patch", needed=True)
    red = names(row, "FAIL_TO_PASS", needed=True)
    repo, commit = original(mirror)
    labels = {"mirror": mirror, "kind": text(row, "strategy")}
    touched = sorted(set(paths(patch)) & {test.partition("::")[0] for test in red})
    if touched:
        labels["unsolvable"] = f"the bug patch touches {touched[0]}, a file of its tests"
    return Task(
        id=name,
        source=source,
        instruction=text(row, "problem_statement"),
        environment=Environment(
            recipe={"kind": "swe-smith", "mirror": mirror, "branch": name},
            image=text(row, "image_name"),
            setup=(f"git checkout {name}",),
        ),
        grader=Grader("f2p_p2p", "", "", red, names(row, "PASS_TO_PASS"), timeout=1800.0),
        gold=Gold(patch, "bug"),
        repo=repo,
        base_commit=text(row, "base_commit") or commit,
        created=text(row, "created_at"),
        labels={key: value for key, value in labels.items() if value},
    )


def write(task: Task) -> Row:
    """SWE-smith's columns."""
    refuse(task, "swe-smith", "f2p_p2p")
    return {
        "instance_id": task.id,
        "patch": bug_patch(task),
        "FAIL_TO_PASS": pytest_names(task.grader.fail_to_pass),
        "PASS_TO_PASS": pytest_names(task.grader.pass_to_pass),
        "created_at": task.created,
        "image_name": task.environment.image,
        "repo": task.labels.get("mirror", task.repo),
        "base_commit": task.base_commit,
        "problem_statement": task.instruction,
    } | ({"strategy": task.labels["kind"]} if "kind" in task.labels else {})


def _matches(row: Row) -> bool:
    return {"instance_id", "patch", "image_name", "FAIL_TO_PASS"} <= row.keys() and "test_patch" not in row


SWE_SMITH = Format("swe-smith", "SWE-smith", _matches, read, write)
