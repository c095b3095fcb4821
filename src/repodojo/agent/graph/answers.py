"""The four questions: where is it defined, where is it used, what does a file hold, what is it connected to."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from repodojo.agent.graph.facts import Definition
from repodojo.agent.graph.graph import Graph, imported_by, imports_of


@dataclass(frozen=True)
class Place:
    """A definition and its file."""

    path: str
    definition: Definition

    def __str__(self) -> str:
        d = self.definition
        return f"{self.path}:{d.first}-{d.last} {d.kind} {d.qualified}"


@dataclass(frozen=True)
class Use:
    """A line on which a name is used, and the definition that it stands in ("" at the top of a file)."""

    path: str
    line: int
    within: str
    is_call: bool


@dataclass(frozen=True)
class Neighbours:
    """Of a definition: who calls it and what it calls. Of a file: who imports it and what it imports."""

    before: tuple[str, ...]
    after: tuple[str, ...]


def definitions(graph: Graph, symbol: str) -> list[Place]:
    """Definitions of "name", "Owner.name" or "path::name", in the order of paths; a path may be the end of one."""
    path, _, name = symbol.rpartition("::")
    if path and not any(_ends(p, path) for p in graph.paths()):  # Rust and C++ write owners so
        path, name = "", symbol.replace("::", ".")
    last = name.rpartition(".")[2]
    return [
        Place(where, d)
        for where in graph.defining(last)
        if not path or _ends(where, path)
        for d in _named(graph, where, last)
        if f".{d.qualified}".endswith(f".{name}")
    ]


def references(graph: Graph, symbol: str) -> list[Use]:
    """Lines that use the last name of `symbol` anywhere: by name, so of its namesakes too. With a path, that file's."""
    path, _, name = symbol.rpartition("::")
    name = name.rpartition(".")[2]
    found = []
    for where in graph.using(name):
        facts = graph.facts(where)
        if facts is None or (path and not _ends(where, path)):
            continue
        called = {line for callee, line in facts.calls if callee == name}
        for line in facts.uses.get(name, ()):
            holder = facts.enclosing(line)
            found.append(Use(where, line, holder.qualified if holder else "", line in called))
    return found


def outline(graph: Graph, path: str) -> list[Place]:
    """The definitions of a file, or of every file below a folder ("." is all), without variables of folders."""
    facts = graph.facts(path)
    if facts is not None:
        return [Place(path, d) for d in facts.definitions]
    prefix = "" if path in (".", "") else path.rstrip("/") + "/"
    inside = sorted(p for p in graph.paths() if p.startswith(prefix))
    return [Place(p, d) for p in inside for d in _defined(graph, p) if not d.owner and d.kind != "variable"]


def neighbours(graph: Graph, symbol: str) -> Neighbours:
    """One step along calls (of a symbol) or imports (of a path)."""
    if graph.facts(symbol) is not None:
        return Neighbours(tuple(imported_by(graph, symbol)), tuple(imports_of(graph, symbol)))
    places = definitions(graph, symbol)
    name = symbol.rpartition("::")[2].rpartition(".")[2]
    uses = references(graph, name) if places else []
    callers = (f"{use.path}::{use.within}" if use.within else use.path for use in uses if use.is_call)
    imported: dict[str, set[str]] = {}
    known: dict[str, list[Place]] = {}
    callees = (found for place in places for found in _callees(graph, place, imported, known))
    return Neighbours(tuple(dict.fromkeys(callers)), tuple(dict.fromkeys(callees)))


def _callees(graph: Graph, place: Place, imported: dict[str, set[str]], known: dict[str, list[Place]]) -> list[str]:
    """What a definition calls; `imported` and `known` remember the files and names of one question."""
    facts, d = graph.facts(place.path), place.definition
    found: list[str] = []
    for name in sorted({name for name, line in facts.calls if d.first <= line <= d.last}) if facts else ():
        if name not in known:
            known[name] = definitions(graph, name)
        if len(known[name]) > 1 and place.path not in imported:
            imported[place.path] = set(imports_of(graph, place.path))
        best = nearest(known[name], place.path, imported.get(place.path, set()))
        found += [f"{item.path}::{item.definition.qualified}" for item in best]
    return found


def nearest(places: Sequence[Place], path: str, imported: Container[str]) -> Sequence[Place]:
    """What a name most likely means in a file: its own definition, else one that it imports, else any."""
    own = [place for place in places if place.path == path]
    return own or [place for place in places if place.path in imported] or places


def _named(graph: Graph, path: str, name: str) -> tuple[Definition, ...]:
    facts = graph.facts(path)
    return facts.named.get(name, ()) if facts else ()


def _defined(graph: Graph, path: str) -> tuple[Definition, ...]:
    facts = graph.facts(path)
    return facts.definitions if facts else ()


def _ends(path: str, end: str) -> bool:
    return f"/{path}".endswith(f"/{end}")
