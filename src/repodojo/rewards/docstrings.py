"""The examples that count in grading: those of the task's own files, read before the agent's changes arrive."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from repodojo.core.protocols import Sandbox
from repodojo.core.records import Task


class Docstrings:
    """Docstrings by doctest id. An injected bug never touches one, so a tree's files are parsed once for all tasks."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[str, str]] = {}

    async def of(self, task: Task, ids: Sequence[str], box: Sandbox) -> dict[str, str]:
        """The text behind each doctest id, from a box that holds no change yet; an id that is not there is left out."""
        tree = str(task.environment.recipe.get("tree", task.id))
        wanted: dict[str, str] = {}
        for name in ids:
            if not name.startswith("doctest:"):
                continue
            path, _, qualname = name.removeprefix("doctest:").partition("::")
            if (tree, path) not in self._known:
                self._known[tree, path] = docstrings((await box.read(path)).decode(errors="replace"))
            if text := self._known[tree, path].get(qualname):
                wanted[name] = text
        return wanted


def docstrings(source: str) -> dict[str, str]:
    """Docstrings of functions and methods by qualified name; {} where the file does not parse."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return {}
    found: dict[str, str] = {}
    waiting: list[tuple[str, ast.stmt]] = [("", node) for node in body]
    while waiting:
        prefix, node = waiting.pop(0)
        if isinstance(node, ast.ClassDef):
            waiting += [(f"{prefix}{node.name}.", child) for child in node.body]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[prefix + node.name] = ast.get_docstring(node, clean=False) or ""
    return found
