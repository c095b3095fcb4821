"""The graph of what stands in an episode's box: the repository's, made once, under a layer of what differs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repodojo.agent.graph.folder import MOST_FILES, SKIPPED
from repodojo.agent.graph.grammars import language_of
from repodojo.agent.graph.graph import CodeGraph, Graph, Layer
from repodojo.agent.graph.parse import Parser
from repodojo.core.protocols import Sandbox
from repodojo.core.recent import Recent
from repodojo.core.records import Environment, Task

REPOSITORIES = 8  # graphs kept at once; another is made anew


@dataclass(frozen=True)
class _Known:
    graph: CodeGraph
    edited: frozenset[str]


class BoxGraphs:
    """Graphs for the boxes of many episodes. Tasks of one tree differ in the files they edit, which are read again."""

    def __init__(self) -> None:
        self.parser = Parser()
        self._known: Recent[str, _Known] = Recent(REPOSITORIES)
        self._making = asyncio.Lock()

    async def of(self, task: Task, box: Sandbox) -> Graph:
        """The graph of the box as it is now. Its first use in a repository reads every source file there."""
        own = edited(task.environment)
        name = repository(task)
        async with self._making:
            if name not in self._known:
                graph = await self._read_all(box)  # perhaps after edits of this episode's: they are read again, too
                self._known[name] = _Known(graph, own | frozenset(await box.changes()))
            known = self._known[name]
        changes = dict(await box.changes())
        for path in (known.edited | own) - changes.keys():
            changes[path] = await _bytes(box, path)
        return Layer(known.graph, {path: self._facts(path, data) for path, data in changes.items()})

    def _facts(self, path: str, data: bytes | None) -> Any:
        return None if data is None else self.parser.facts(path, data)

    async def _read_all(self, box: Sandbox) -> CodeGraph:
        graph = CodeGraph()
        folders = [""]
        while folders and len(graph.paths()) < MOST_FILES:
            folder = folders.pop()
            for name in await box.listdir(folder or "."):
                path = f"{folder}{name}"
                if name.endswith("/"):
                    if name[:-1] not in SKIPPED and not name.startswith("."):
                        folders.append(path)
                elif language_of(name):
                    graph.put(path, self._facts(path, await _bytes(box, path)))
        return graph


def repository(task: Task) -> str:
    """What tasks of one source tree have in common."""
    environment = task.environment
    return str(environment.recipe.get("tree", "")) or f"{environment.image}:{task.repo}:{task.base_commit}:{task.id}"


def edited(environment: Environment) -> frozenset[str]:
    """Files in which a task's environment differs from its tree."""
    edits: Any = environment.recipe.get("edits", ())
    return frozenset(str(edit["path"]) for edit in edits if isinstance(edit, Mapping) and "path" in edit)


async def _bytes(box: Sandbox, path: str) -> bytes | None:
    try:
        return await box.read(path)
    except OSError:  # not there, a folder, or too long: no source file
        return None
