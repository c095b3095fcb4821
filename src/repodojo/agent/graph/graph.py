"""Facts of many files, found by name: a graph for a repository, and a layer over it for what an episode changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from repodojo.agent.graph import targets
from repodojo.agent.graph.facts import Facts


class Graph(Protocol):
    """What queries need: files by path, by what they define or use, by their name, and by what they import."""

    def facts(self, path: str) -> Facts | None: ...

    def paths(self) -> Collection[str]: ...

    def defining(self, name: str) -> list[str]: ...

    def using(self, name: str) -> list[str]: ...

    def named(self, name: str) -> list[str]: ...

    def importing(self, key: str) -> list[str]: ...


class CodeGraph:
    """A mutable graph. `put` replaces one file, so that a change costs that file and nothing else.

    >>> from repodojo.agent.graph.parse import parse
    >>> graph = CodeGraph(); graph.put("a.py", parse("python", b"def f(): g()"))
    >>> graph.defining("f"), graph.using("g")
    (['a.py'], ['a.py'])
    """

    def __init__(self, files: Mapping[str, Facts] | None = None) -> None:
        self._facts: dict[str, Facts] = {}
        self._tables: tuple[dict[str, set[str]], ...] = tuple(defaultdict(set) for _ in range(4))
        for path, facts in (files or {}).items():
            self.put(path, facts)

    def put(self, path: str, facts: Facts | None) -> None:
        """The facts of a file as it is now; None: it is gone, or no longer read."""
        before = self._facts.pop(path, None)
        if before is not None:
            for table, names in zip(self._tables, _names(path, before), strict=True):
                for name in names:
                    table[name].discard(path)
                    if not table[name]:
                        del table[name]
        if facts is not None:
            self._facts[path] = facts
            for table, names in zip(self._tables, _names(path, facts), strict=True):
                for name in names:
                    table[name].add(path)

    def facts(self, path: str) -> Facts | None:
        return self._facts.get(path)

    def paths(self) -> Collection[str]:
        return self._facts.keys()

    def defining(self, name: str) -> list[str]:
        return self._get(0, name)

    def using(self, name: str) -> list[str]:
        return self._get(1, name)

    def named(self, name: str) -> list[str]:
        """Paths whose last part is `name`, or, for `*.go` and its like, whose folder's name is what stands before."""
        return self._get(2, name)

    def importing(self, key: str) -> list[str]:
        return self._get(3, key)

    def _get(self, table: int, name: str) -> list[str]:
        return sorted(self._tables[table].get(name, ()))


class Layer:
    """A graph with some files replaced (None: gone), whose cost is those files: an episode's view of its repository."""

    def __init__(self, base: Graph, changed: Mapping[str, Facts | None]) -> None:
        self._base, self._changed = base, changed
        self._top = CodeGraph({path: facts for path, facts in changed.items() if facts is not None})

    def facts(self, path: str) -> Facts | None:
        return self._changed[path] if path in self._changed else self._base.facts(path)

    def paths(self) -> Collection[str]:
        return sorted({*(p for p in self._base.paths() if p not in self._changed), *self._top.paths()})

    def defining(self, name: str) -> list[str]:
        return self._both(self._base.defining(name), self._top.defining(name))

    def using(self, name: str) -> list[str]:
        return self._both(self._base.using(name), self._top.using(name))

    def named(self, name: str) -> list[str]:
        return self._both(self._base.named(name), self._top.named(name))

    def importing(self, key: str) -> list[str]:
        return self._both(self._base.importing(key), self._top.importing(key))

    def _both(self, below: Iterable[str], above: Iterable[str]) -> list[str]:
        return sorted({*(path for path in below if path not in self._changed), *above})


def _names(path: str, facts: Facts) -> tuple[set[str], ...]:
    """Under which names a file is filed: defined, used, its own, imported."""
    folder, _, own = path.rpartition("/")
    return (
        {definition.name for definition in facts.definitions},
        set(facts.uses),
        {own, f"{folder.rpartition('/')[2]}/*{own[own.rfind('.') :]}"},
        {targets.key(module) for module in facts.imports},
    )


def ending_in(graph: Graph, end: str) -> list[str]:
    """Paths that are `end` or end in "/end"; "a/b/*.go" gives the files of folders that end in a/b."""
    folder, _, name = end.rpartition("/")
    if name.startswith("*"):
        found = graph.named(f"{folder.rpartition('/')[2]}/{name}")
        return [p for p in found if f"/{p.rpartition('/')[0]}".endswith(f"/{folder}")]
    return [p for p in graph.named(name) if f"/{p}".endswith(f"/{end}")]


def imported_by(graph: Graph, path: str) -> list[str]:
    """Files that import `path`."""
    asking = {other for key in targets.keys_of(path) for other in graph.importing(key)}
    return sorted(other for other in asking if other != path and path in imports_of(graph, other))


def imports_of(graph: Graph, path: str) -> list[str]:
    """Files of the repository that `path` imports."""
    facts = graph.facts(path)
    if facts is None:
        return []
    found = (
        other
        for module in facts.imports
        for other in targets.resolve(module, path, facts.language, lambda end: ending_in(graph, end))
    )
    return sorted({other for other in found if other != path})
