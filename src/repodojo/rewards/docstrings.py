"""The examples that count in grading: those of the task's own files, read before the agent's changes arrive."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from repodojo.core.protocols import Sandbox, SandboxFactory
from repodojo.core.records import Task
from repodojo.rewards.witness import sound_environment


class Docstrings:
    """Docstrings by doctest id. An injected bug never changes one, so a tree's files are parsed once for all tasks.

    A task that took a whole definition out took its docstring too: that one is read in a box without the task's edits,
    and never where the agent wrote it anew.
    """

    def __init__(self, factory: SandboxFactory) -> None:
        self._factory = factory
        self._known: dict[tuple[str, str], dict[str, str]] = {}
        self._sound: set[tuple[str, str]] = set()

    async def of(self, task: Task, ids: Sequence[str], box: Sandbox) -> dict[str, str]:
        """The text behind each doctest id, from a box that holds no change yet; an id that is not there is left out."""
        tree = str(task.environment.recipe.get("tree", task.id))
        wanted: dict[str, str] = {}
        for name in ids:
            if not name.startswith("doctest:"):
                continue
            path, _, qualname = name.removeprefix("doctest:").partition("::")
            key = (tree, path)
            if key not in self._known:
                self._known[key] = docstrings((await box.read(path)).decode(errors="replace"))
            if qualname not in self._known[key] and key not in self._sound:
                self._known[key] |= await self._without_edits(task, path)
                self._sound.add(key)
            if text := self._known[key].get(qualname):
                wanted[name] = text
        return wanted

    async def _without_edits(self, task: Task, path: str) -> dict[str, str]:
        sound = sound_environment(task)
        if sound is None:
            return {}
        box = await self._factory.create(sound)
        try:
            return docstrings((await box.read(path)).decode(errors="replace"))
        finally:
            await box.close()


def docstrings(source: str) -> dict[str, str]:
    """Docstrings of functions, methods and classes by qualified name; {} where the file does not parse."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return {}
    found: dict[str, str] = {}
    waiting: list[tuple[str, ast.stmt]] = [("", node) for node in body]
    while waiting:
        prefix, node = waiting.pop(0)
        if isinstance(node, ast.ClassDef):
            found[prefix + node.name] = ast.get_docstring(node, clean=False) or ""
            waiting += [(f"{prefix}{node.name}.", child) for child in node.body]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[prefix + node.name] = ast.get_docstring(node, clean=False) or ""
    return found
