"""SWE-bench and Verified (and Lite, Multimodal: the same columns), and SWE-Gym, which differs in its images.

Traps: the test lists are JSON in strings in one release and lists in the next; image names are lower case, with "__"
written as "_1776_" (SWE-bench) or "_s_" (SWE-Gym); version 5 adds image, log_parser, eval_type and eval_script.
"""

from __future__ import annotations

import json

from repodojo.core.records import Environment, Gold, Grader, Source, Task
from repodojo.tasks.formats.base import Format, Row, fix_patch, names, parsed, pytest_names, refuse, text

PREFIXES = {"swe-bench": ("swebench/sweb.eval.x86_64.", "_1776_"), "swe-gym": ("xingyaoww/sweb.eval.x86_64.", "_s_")}
EXTRA = ("difficulty", "eval_type")


def image_of(instance_id: str, kind: str = "swe-bench") -> str:
    """The image of an instance.

    >>> image_of("astropy__astropy-12907")
    'swebench/sweb.eval.x86_64.astropy_1776_astropy-12907:latest'
    """
    prefix, mark = PREFIXES[kind]
    return f"{prefix}{instance_id.lower().replace('__', mark)}:latest"


def read(row: Row, source: Source, kind: str = "swe-bench") -> Task:
    """A row with SWE-bench's columns."""
    name = text(row, "instance_id", needed=True)
    recipe = {"kind": kind, "version": text(row, "version"), "setup_commit": text(row, "environment_setup_commit")}
    return Task(
        id=name,
        source=source,
        instruction=text(row, "problem_statement", needed=True),
        environment=Environment(recipe=recipe, image=text(row, "image") or image_of(name, kind)),
        grader=Grader(
            "f2p_p2p",
            text(row, "eval_script"),
            text(row, "log_parser"),
            names(row, "FAIL_TO_PASS", needed=True),
            names(row, "PASS_TO_PASS"),
            timeout=1800.0,
        ),
        gold=Gold(text(row, "patch", needed=True)),
        repo=text(row, "repo", needed=True),
        base_commit=text(row, "base_commit", needed=True),
        created=_created(row),
        hints=text(row, "hints_text"),
        test_patch=text(row, "test_patch"),
        labels={key: str(row[key]) for key in EXTRA if row.get(key) is not None},
    )


def _created(row: Row) -> str:
    """Some mirrors hold a number here; it stays in the raw row."""
    return row["created_at"] if isinstance(row.get("created_at"), str) else ""


def write(task: Task, kind: str = "swe-bench") -> Row:
    """SWE-bench's columns; version 5's only where the task has them."""
    refuse(task, kind, "f2p_p2p")
    recipe = task.environment.recipe
    lists = [pytest_names(ids) for ids in (task.grader.fail_to_pass, task.grader.pass_to_pass)]
    row: Row = {
        "repo": task.repo,
        "instance_id": task.id,
        "base_commit": task.base_commit,
        "patch": fix_patch(task),
        "test_patch": task.test_patch or hidden_patch(task),
        "problem_statement": task.instruction,
        "hints_text": task.hints,
        "created_at": task.created,
        "version": recipe.get("version", ""),
        "FAIL_TO_PASS": json.dumps(lists[0]) if kind == "swe-bench" else lists[0],
        "PASS_TO_PASS": json.dumps(lists[1]) if kind == "swe-bench" else lists[1],
    }
    if kind == "swe-bench":
        row["environment_setup_commit"] = recipe.get("setup_commit", "")
    if (image := task.environment.image) and image != image_of(task.id, kind):
        row["image"] = image
    row |= {name: task.labels[name] for name in EXTRA if name in task.labels}
    row |= {"eval_script": task.grader.command} if task.grader.command else {}
    return row | ({"log_parser": task.grader.parser} if task.grader.parser else {})


def hidden_patch(task: Task) -> str:
    """Hidden test files as a patch that adds them (they are not in the tree that the agent sees)."""
    found = ""
    for path, content in sorted(task.hidden_files.items()):
        rows = content.splitlines(keepends=True)
        body = "".join("+" + row if row.endswith("\n") else f"+{row}\n\\ No newline at end of file\n" for row in rows)
        found += f"diff --git a/{path} b/{path}\nnew file mode 100644\n"
        found += f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,{len(rows)} @@\n{body}" if rows else ""
    return found


def _is_swe_bench(row: Row) -> bool:
    return {"instance_id", "patch", "problem_statement", "FAIL_TO_PASS", "base_commit"} <= row.keys()


def _is_swe_gym(row: Row) -> bool:
    """SWE-Gym has SWE-bench's columns but no environment_setup_commit, and lists instead of strings."""
    return (
        _is_swe_bench(row)
        and "environment_setup_commit" not in row
        and isinstance(row["FAIL_TO_PASS"], list)
        and parsed(row, "FAIL_TO_PASS", list) is not None
    )


SWE_BENCH = Format("swe-bench", "SWE-bench, Verified, Lite, version 5 rows", _is_swe_bench, read, write)
SWE_GYM = Format(
    "swe-gym", "SWE-Gym", _is_swe_gym, lambda row, source: read(row, source, "swe-gym"), lambda t: write(t, "swe-gym")
)
