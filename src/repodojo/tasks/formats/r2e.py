"""R2E-Gym: the grader is an exact map of test statuses; the gold patch is rebuilt from the parsed commit.

Traps: `commit_hash` is the fixed commit, its parent is the base; parsed_commit_content and expected_output_json are
JSON in strings; test files are not part of the gold patch; names in the status map may hold terminal colours and a
reason after " - ", which are not part of the id; a few test files are numbered copies under r2e_tests/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from repodojo.core.records import Environment, Gold, Grader, Source, Task
from repodojo.tasks.formats.base import Format, Row, RowError, parsed, refuse, text

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ISSUE = re.compile(r"\[ISSUE\](.*)\[/ISSUE\]", re.DOTALL)
MARKS = {"context": " ", "added": "+", "deleted": "-", "note": "\\ "}
COMMAND = "bash run_tests.sh"


def read(row: Row, source: Source) -> Task:
    """A row of R2E-Gym."""
    repo, commit = text(row, "repo_name", needed=True), text(row, "commit_hash", needed=True)
    content = parsed(row, "parsed_commit_content", dict)
    if content is None:
        raise RowError("parsed_commit_content", "is missing")
    expected = parsed(row, "expected_output_json", dict)
    if not expected or not all(isinstance(status, str) for status in expected.values()):
        raise RowError("expected_output_json", "is not a map from tests to statuses")
    issue = text(row, "problem_statement")
    inside = ISSUE.search(issue)
    return Task(
        id=f"{repo}__{commit}",
        source=source,
        instruction=inside[1].strip() if inside else issue,
        environment=Environment(recipe={"kind": "r2e", "commit": commit}, image=text(row, "docker_image")),
        grader=Grader("status_map", COMMAND, "pytest", expected=clean(expected), timeout=300.0),
        gold=Gold(gold_patch(content)),
        repo=repo,
        base_commit=str(content.get("old_commit_hash") or f"{commit}^"),
        created=str(content.get("commit_date") or ""),
        hidden_files=_tests(row),
    )


def clean(expected: Mapping[str, str]) -> dict[str, str]:
    """The status map as a grader compares it: without colours, and without the reason after " - ".

    >>> clean({"\\x1b[1mtest_a\\x1b[0m - ValueError": "FAILED"})
    {'test_a': 'FAILED'}
    """
    return {COLOUR.sub("", name).split(" - ")[0]: status for name, status in expected.items()}


def is_test(path: str) -> bool:
    """R2E-Gym's own rule for test files."""
    parts = path.split("/")
    return (
        path.endswith("_test.py")
        or parts[-1].startswith("test_")
        or bool({*parts} & {"tests", "Tests", "test", "Test"})
    )


def gold_patch(content: Mapping[str, Any]) -> str:
    """The patch in `file_diffs`, test files left out; RowError where it is not laid out so."""
    found = ""
    try:
        for item in content["file_diffs"]:
            if not is_test(item["header"]["file"]["path"]):
                found += "".join(_file(item))
    except (KeyError, TypeError, AttributeError) as error:
        raise RowError("parsed_commit_content", f"file_diffs: {error!r}") from None
    return found


def _file(item: Mapping[str, Any]) -> list[str]:
    path = item["header"]["file"]["path"]
    rows = [f"diff --git a/{path} b/{path}\n"]
    rows += [f"{item['header']['misc_line']}\n"] if item["header"].get("misc_line") else []
    if index := item.get("index_line"):
        mode = f" {index['mode']}" if index.get("mode") else ""
        rows.append(f"index {index['old_commit_hash']}..{index['new_commit_hash']}{mode}\n")
    rows += [f"{item['binary_line']}\n"] if item.get("is_binary_file") and item.get("binary_line") else []
    if item.get("minus_file") and item.get("plus_file"):
        rows += [f"--- {item['minus_file']['path']}\n", f"+++ {item['plus_file']['path']}\n"]
    for hunk in item.get("hunks") or ():
        old, new = (_range(hunk["descriptor"][side]) for side in ("old_range", "new_range"))
        section = f" {hunk['descriptor']['section']}" if hunk["descriptor"].get("section") else ""
        rows.append(f"@@ -{old} +{new} @@{section}\n")
        rows += [f"{MARKS[line['type']]}{line['content']}\n" for line in hunk["line_group"]["all_lines"]]
    return rows


def _range(span: Mapping[str, Any]) -> str:
    return f"{span['start']}" if span.get("length") is None else f"{span['start']},{span['length']}"


def _tests(row: Row) -> dict[str, str]:
    """The hidden test files, where the row carries them."""
    content = parsed(row, "execution_result_content", dict) or {}
    files, codes = content.get("test_file_names") or [], content.get("test_file_codes") or []
    if len(files) != len(codes) or not all(isinstance(x, str) for x in (*files, *codes)):
        raise RowError("execution_result_content", "has not one code for each test file name")
    return {f"r2e_tests/{name}": code for name, code in zip(files, codes, strict=True)}


def write(task: Task) -> Row:
    """R2E-Gym's columns, as far as a task has them; the parsed commit of a task from elsewhere is not invented."""
    refuse(task, "r2e", "status_map")
    return {
        "repo_name": task.repo,
        "docker_image": task.environment.image,
        "commit_hash": task.environment.recipe.get("commit", ""),
        "problem_statement": f"[ISSUE]\n{task.instruction}\n[/ISSUE]",
        "expected_output_json": json.dumps(dict(task.grader.expected)),
    }


def _matches(row: Row) -> bool:
    return {"repo_name", "commit_hash", "parsed_commit_content"} <= row.keys()


R2E = Format("r2e", "R2E-Gym", _matches, read, write)
