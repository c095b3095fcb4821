"""What a format is, and why nothing is lost: a task is stored with the difference to what it would be written as.

Reading a row gives a Task; writing that Task again gives a row; whatever differs between the two rows (unknown
fields, odd spellings of known ones) is kept verbatim in `Task.raw`. So export gives back what import took.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from repodojo.core.codec import to_json
from repodojo.core.errors import TaskError
from repodojo.core.records import Source, Task

Row = dict[str, Any]
"""One task as a format has it: a row's fields, or the files of its folder (text, or {"base64": ...}) by path."""


class RowError(TaskError):
    """A row that cannot be read or written; `field` says which of its fields ("" for the whole row)."""

    def __init__(self, field: str, cause: str) -> None:
        super().__init__(f"{field}: {cause}" if field else cause)
        self.field = field


@dataclass(frozen=True)
class Format:
    """A format of the field.

    matches: whether a row is of this format; read, write: row to Task and back (RowError where that cannot be);
    folder: a task is a folder of files, not a row
    """

    name: str
    title: str
    matches: Callable[[Row], bool]
    read: Callable[[Row, Source], Task]
    write: Callable[[Task], Row]
    folder: bool = False


def load(kind: Format, row: Row, source: Source) -> tuple[Task, str]:
    """The task of a row, and its line for the store. RowError names the field that is wrong."""
    task = kind.read(row, source)
    if not task.id:
        raise RowError("", "the task has no id")
    made = kind.write(task)
    rest = {name: value for name, value in row.items() if name not in made or not _same(made[name], value)}
    task = replace(task, raw={"format": kind.name, "keys": list(row), "rest": rest})
    try:
        json.dumps(rest, allow_nan=False)
        return task, to_json(task)
    except ValueError:
        bad = next((name for name, value in row.items() if not _storable(value)), "")
        raise RowError(bad, "holds a number or a character that JSON cannot") from None


def dump(kind: Format, task: Task) -> Row:
    """The row of a task: exactly what was read where it was of this format, else as the format writes it."""
    made = kind.write(task)
    if task.raw.get("format") != kind.name:
        return made
    made |= task.raw["rest"]
    return {name: made[name] for name in task.raw["keys"]}


def _same(a: Any, b: Any) -> bool:
    """Equal in type and order too: 1 is not 1.0, and not True."""
    if type(a) is not type(b):
        return False
    if isinstance(a, str | bool | int | None):
        return bool(a == b)
    return json.dumps(a) == json.dumps(b)


def _storable(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError):
        return False
    return True


# ---------------------------------------------------------------- reading fields


def text(row: Mapping[str, Any], name: str, *, needed: bool = False) -> str:
    """A string field; "" where it is missing or null and not `needed`."""
    value = row.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value):
        raise RowError(name, "is missing" if value in (None, "") else f"is {type(value).__name__}, not text")
    return value


def parsed(row: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """A field that is JSON in a string, or that JSON itself; None where it is missing."""
    value = row.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise RowError(name, f"is not JSON: {error}") from None
    if value is not None and not isinstance(value, kind):
        raise RowError(name, f"is {type(value).__name__}, not what it should be")
    return value


def names(row: Mapping[str, Any], name: str, *, needed: bool = False) -> tuple[str, ...]:
    """Test ids: a list, or a list as JSON in a string."""
    value = parsed(row, name, list)
    if value is None and needed:
        raise RowError(name, "is missing")
    for item in value or ():
        if not isinstance(item, str):
            raise RowError(name, f"holds {type(item).__name__}, not only test ids")
    return tuple(value or ())


def plain(recipe: Any) -> Any:
    """A deep copy as plain lists and dicts, for a field that holds JSON."""
    return json.loads(json.dumps(recipe))


def refuse(task: Task, kind: str, *graders: str) -> None:
    """RowError where a task is judged in a way that format `kind` cannot say."""
    if task.grader.kind not in graders:
        raise RowError("grader", f"{kind} has no words for a grader of kind {task.grader.kind!r}")


def fix_patch(task: Task) -> str:
    """The patch that mends: the gold as it is, or the reverse of one that introduces the bug."""
    from repodojo.tasks.patches import reverse

    if task.gold is None:
        raise RowError("gold", "the task has no reference patch")
    return task.gold.patch if task.gold.direction == "fix" else reverse(task.gold.patch)


def bug_patch(task: Task) -> str:
    """The patch that breaks a sound tree."""
    from repodojo.tasks.patches import reverse

    if task.gold is None:
        raise RowError("gold", "the task has no reference patch")
    return task.gold.patch if task.gold.direction == "bug" else reverse(task.gold.patch)


def pytest_names(ids: tuple[str, ...]) -> list[str]:
    """Ids as the field writes them: "pytest:tests/x.py::y" is "tests/x.py::y"; doctests keep their mark."""
    return [name.removeprefix("pytest:") for name in ids]
