"""Harbor (Terminal-Bench 2): a folder a task, judged by tests/test.sh, which leaves a reward in a file.

Traps: the reward is read from /logs/verifier/reward.json, else from reward.txt; an image may be named or be built
from environment/Dockerfile; memory is `memory_mb`, or text such as "2G" in older folders.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.tasks.formats.base import Format, Row, RowError, refuse, text
from repodojo.tasks.formats.folders import NAME

UNITS = {"k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0 * 1024}
REWARDS = {"json": "/logs/verifier/reward.json", "text": "/logs/verifier/reward.txt"}


def read(row: Row, source: Source) -> Task:
    """A folder's files."""
    try:
        config = tomllib.loads(text(row, "task.toml", needed=True))
    except tomllib.TOMLDecodeError as error:
        raise RowError("task.toml", f"is not TOML: {error}") from None
    text(row, "tests/test.sh", needed=True)
    place, verifier, agent = (_table(config, name) for name in ("environment", "verifier", "agent"))
    image = place.get("docker_image") or ""
    if not image and "environment/Dockerfile" not in row and "environment/docker-compose.yaml" not in row:
        raise RowError("task.toml", "names no docker_image, and there is no environment/Dockerfile")
    labels = {"agent_seconds": _number(agent, "agent.timeout_sec", 0.0)}
    metadata = _table(config, "metadata")
    return Task(
        id=text(row, NAME, needed=True),
        source=source,
        instruction=text(row, "instruction.md", needed=True),
        environment=Environment(
            recipe={"kind": "dockerfile", "folder": "environment"},
            image=str(image),
            os=str(place.get("os") or "linux"),
            work_dir=str(place.get("workdir") or "/app"),
            resources=_resources(place),
            network=bool(place.get("allow_internet", True)),
        ),
        grader=Grader(
            "reward_file",
            "bash /tests/test.sh",
            "harbor",
            expected=REWARDS,
            timeout=_number(verifier, "verifier.timeout_sec", 600.0),
        ),
        language=str(metadata.get("language") or "unknown"),
        hidden_files={k: v for k, v in row.items() if k.startswith("tests/") and isinstance(v, str)},
        labels={k: f"{v:g}" for k, v in labels.items() if v} | _labels(metadata),
    )


def _labels(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {k: str(metadata[k]) for k in ("difficulty", "category") if metadata.get(k)}


def _table(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = config.get(name, {})
    if not isinstance(value, dict):
        raise RowError("task.toml", f"{name} is not a table")
    return value


def _number(table: Mapping[str, Any], name: str, default: float) -> float:
    value = table.get(name.rpartition(".")[2], default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise RowError("task.toml", f"{name} is not a number of seconds or units")
    return float(value)


def _resources(place: Mapping[str, Any]) -> dict[str, float]:
    found = {key: _number(place, f"environment.{key}", 0.0) for key in ("cpus", "memory_mb") if key in place}
    if isinstance(size := place.get("memory"), str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt])i?b?", size.strip().lower())
        if not match:
            raise RowError("task.toml", f"environment.memory {size!r} is not a size")
        found.setdefault("memory_mb", float(match[1]) * UNITS[match[2]])
    return found


def write(task: Task) -> Row:
    """A folder's files; a task from elsewhere needs an image, and tests that leave a reward or an exit code."""
    refuse(task, "harbor", "reward_file", "exit_code")
    environment = task.environment
    if environment.recipe.get("kind") != "dockerfile" and not environment.image:
        raise RowError("environment", "no image is named, and Harbor needs one or a Dockerfile")
    row: Row = {NAME: task.id, "instruction.md": task.instruction, **task.hidden_files}
    if task.grader.kind == "exit_code":
        row["tests/test.sh"] = (
            f"#!/bin/bash\nmkdir -p /logs/verifier\nif {task.grader.command}\n"
            f"then echo 1 > {REWARDS['text']}\nelse echo 0 > {REWARDS['text']}\nfi\n"
        )
    row["task.toml"] = _toml(task)
    return row


def _toml(task: Task) -> str:
    """JSON's strings, numbers and booleans are TOML's too."""
    tables: dict[str, dict[str, Any]] = {
        "metadata": {key: task.labels[key] for key in ("difficulty", "category") if key in task.labels},
        "verifier": {"timeout_sec": task.grader.timeout},
        "agent": {"timeout_sec": float(task.labels.get("agent_seconds", 1800))},
        "environment": {
            **({"docker_image": task.environment.image} if task.environment.image else {}),
            **{
                key: task.environment.resources[key]
                for key in ("cpus", "memory_mb")
                if key in task.environment.resources
            },
            "allow_internet": task.environment.network,
        },
    }
    lines = ['version = "1.0"']
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _matches(row: Row) -> bool:
    return {"task.toml", "instruction.md"} <= row.keys()


HARBOR = Format("harbor", "Harbor, Terminal-Bench 2 (folders)", _matches, read, write, folder=True)
