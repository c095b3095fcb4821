"""SWE-rebench, version 1 (an install_config with one command each) and version 2 (lists, languages, pull requests).

Traps: version 2 counts created_at in milliseconds; commands are a string in one and lists in the other; the work dir
is the repository's name; version 1 keeps the test lists as lists, though SWE-bench has strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from repodojo.core.records import Environment, Gold, Grader, Source, Task
from repodojo.tasks.formats.base import (
    Format,
    Row,
    RowError,
    fix_patch,
    names,
    parsed,
    plain,
    pytest_names,
    refuse,
    text,
)


def read(row: Row, source: Source) -> Task:
    """A row of either version."""
    name, repo = text(row, "instance_id", needed=True), text(row, "repo", needed=True)
    config = parsed(row, "install_config", dict) or {}
    recipe = {"kind": "install_config", "config": config, "version": text(row, "version")}
    recipe["setup_commit"] = text(row, "environment_setup_commit")
    return Task(
        id=name,
        source=source,
        instruction=text(row, "problem_statement", needed=True),
        environment=Environment(
            recipe=recipe,
            image=text(row, "image_name") or text(row, "docker_image"),
            work_dir=f"/{repo.rpartition('/')[2]}" if _is_second(row) else "/testbed",
            setup=_commands(config, "pre_install") + _commands(config, "install"),
        ),
        grader=Grader(
            "f2p_p2p",
            "\n".join(_commands(config, "test_cmd")),
            str(config.get("log_parser") or ""),
            names(row, "FAIL_TO_PASS", needed=True),
            names(row, "PASS_TO_PASS"),
            timeout=1800.0,
        ),
        gold=Gold(text(row, "patch", needed=True)),
        repo=repo,
        base_commit=text(row, "base_commit", needed=True),
        language=text(row, "language") or "python",
        licence=text(row, "license_name") or text(row, "license"),
        created=_created(row),
        hints=text(row, "hints_text"),
        interface=text(row, "interface"),
        test_patch=text(row, "test_patch"),
    )


def _is_second(row: Row) -> bool:
    return "language" in row or "pr_description" in row


def _commands(config: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A command, several, or none."""
    value = config.get(name)
    value = [value] if isinstance(value, str) else value or []
    if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
        raise RowError(f"install_config.{name}", "is neither a command nor a list of commands")
    return tuple(value)


def _created(row: Row) -> str:
    value = row.get("created_at")
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="milliseconds")
        except (OverflowError, ValueError, OSError):
            raise RowError("created_at", "is not a time in milliseconds") from None
    return value if isinstance(value, str) else ""


def _milliseconds(created: str) -> int | str:
    try:
        return round(datetime.fromisoformat(created).timestamp() * 1000)
    except ValueError:
        return created


def write(task: Task) -> Row:
    """Version 2 where the work dir or the language says so, else version 1."""
    refuse(task, "swe-rebench", "f2p_p2p")
    recipe = task.environment.recipe
    second = task.environment.work_dir != "/testbed" or task.language != "python"
    row: Row = {
        "instance_id": task.id,
        "repo": task.repo,
        "base_commit": task.base_commit,
        "patch": fix_patch(task),
        "test_patch": task.test_patch,
        "problem_statement": task.instruction,
        "hints_text": task.hints,
        "interface": task.interface,
        "created_at": _milliseconds(task.created) if second else task.created,
        "install_config": plain(recipe["config"]) if "config" in recipe else _config(task),
        "FAIL_TO_PASS": pytest_names(task.grader.fail_to_pass),
        "PASS_TO_PASS": pytest_names(task.grader.pass_to_pass),
    }
    if second:
        return row | {"language": task.language, "image_name": task.environment.image, "license": task.licence}
    more = {"version": recipe.get("version", ""), "environment_setup_commit": recipe.get("setup_commit", "")}
    return row | more | {"license_name": task.licence, "docker_image": task.environment.image}


def _config(task: Task) -> Row:
    """What an install_config can say of a task from elsewhere."""
    return {
        "install": list(task.environment.setup),
        "test_cmd": task.grader.command,
        "log_parser": task.grader.parser,
    }


def _matches(row: Row) -> bool:
    return {"instance_id", "patch", "install_config", "FAIL_TO_PASS"} <= row.keys()


SWE_REBENCH = Format("swe-rebench", "SWE-rebench version 1 and 2", _matches, read, write)
