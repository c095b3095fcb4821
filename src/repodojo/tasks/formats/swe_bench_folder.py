"""SWE-bench 5 as folders: task.yaml, tests.json, problem_statement.md, gold.patch, test.patch, eval.sh."""

from __future__ import annotations

import json
from typing import Any

import yaml

from repodojo.core.records import Environment, Gold, Grader, Source, Task
from repodojo.tasks.formats.base import Format, Row, RowError, fix_patch, names, parsed, pytest_names, refuse, text
from repodojo.tasks.formats.folders import NAME
from repodojo.tasks.formats.swe_bench import EXTRA, hidden_patch, image_of


def read(row: Row, source: Source) -> Task:
    """A folder's files."""
    config, tests = _yaml(row), parsed(row, "tests.json", dict)
    if tests is None:
        raise RowError("tests.json", "is missing")
    try:
        red, green = names(tests, "FAIL_TO_PASS", needed=True), names(tests, "PASS_TO_PASS")
        name, repo = text(config, "instance_id") or text(row, NAME, needed=True), text(config, "repo", needed=True)
        version, image, parser = (text(config, key) for key in ("version", "image", "log_parser"))
    except RowError as error:
        where = "tests.json" if error.field.endswith("_PASS") else "task.yaml"
        raise RowError(f"{where}: {error.field}", error.cause.partition(": ")[2]) from None
    return Task(
        id=name,
        source=source,
        instruction=text(row, "problem_statement.md", needed=True),
        environment=Environment(recipe={"kind": "swe-bench", "version": version}, image=image or image_of(name)),
        grader=Grader("f2p_p2p", text(row, "eval.sh"), parser, red, green, timeout=1800.0),
        gold=Gold(text(row, "gold.patch", needed=True)),
        repo=repo,
        base_commit=str(config.get("base_commit") or ""),
        created=str(config.get("created_at") or ""),
        test_patch=text(row, "test.patch"),
        labels={key: str(config[key]) for key in EXTRA if config.get(key) is not None},
    )


def _yaml(row: Row) -> dict[str, Any]:
    try:
        config = yaml.safe_load(text(row, "task.yaml", needed=True))
    except yaml.YAMLError as error:
        raise RowError("task.yaml", f"is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise RowError("task.yaml", "is not a mapping")
    return config


def write(task: Task) -> Row:
    """The six files."""
    refuse(task, "swe-bench-folder", "f2p_p2p")
    config = {
        "instance_id": task.id,
        "repo": task.repo,
        "base_commit": task.base_commit,
        "version": task.environment.recipe.get("version", ""),
        "image": task.environment.image,
        "log_parser": task.grader.parser,
        **{key: task.labels[key] for key in EXTRA if key in task.labels},
    }
    lists = {"FAIL_TO_PASS": task.grader.fail_to_pass, "PASS_TO_PASS": task.grader.pass_to_pass}
    return {
        NAME: task.id,
        "task.yaml": yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        "tests.json": json.dumps({key: pytest_names(ids) for key, ids in lists.items()}, indent=2) + "\n",
        "problem_statement.md": task.instruction,
        "gold.patch": fix_patch(task),
        "test.patch": task.test_patch or hidden_patch(task),
        "eval.sh": task.grader.command,
    }


def _matches(row: Row) -> bool:
    return {"task.yaml", "tests.json"} <= row.keys()


SWE_BENCH_FOLDER = Format("swe-bench-folder", "SWE-bench 5 (folders)", _matches, read, write, folder=True)
