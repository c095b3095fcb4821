"""Answers as the agent reads them: `path:line` first, code where a person would want to see it, bounded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from repodojo.agent.graph import answers
from repodojo.agent.graph.graph import Graph

Reader = Callable[[str], Awaitable[bytes]]
"""Gives a file's bytes by its path in the repository; OSError where there is none."""
MOST_SHOWN = 3  # definitions shown with their code
MOST_LINES = 60  # of one definition
MOST_USES = 50
MOST_ENTRIES = 200


async def definition(graph: Graph, read: Reader, symbol: str) -> str:
    """Where a symbol is defined, with its code; "" where nowhere."""
    places = answers.definitions(graph, symbol)
    parts = []
    for place in places[:MOST_SHOWN]:
        d = place.definition
        rows = (await _lines(read, place.path))[d.first - 1 : d.last]
        code = [f"{number:6}\t{row}" for number, row in enumerate(rows[:MOST_LINES], d.first)]
        more = [f"[{len(rows) - MOST_LINES} more lines]"] if len(rows) > MOST_LINES else []
        parts.append("\n".join([str(place), *code, *more]))
    return "\n".join([*parts, *_bounded([str(place) for place in places[MOST_SHOWN:]], MOST_USES)])


async def references(graph: Graph, read: Reader, symbol: str) -> str:
    """Lines that use a name: `path:line:text`, and what they stand in."""
    uses = answers.references(graph, symbol)
    files = {use.path: await _lines(read, use.path) for use in uses[:MOST_USES]}
    rows = []
    for use in uses[:MOST_USES]:
        lines = files[use.path]
        text = lines[use.line - 1].strip()[:160] if use.line <= len(lines) else ""
        rows.append(f"{use.path}:{use.line}:{text}{f'  [in {use.within}]' if use.within else ''}")
    return "\n".join([*rows, *([f"[{len(uses) - MOST_USES} more]"] if len(uses) > MOST_USES else [])])


def outline(graph: Graph, path: str) -> str:
    """What a file or folder defines, indented by owner; signatures for a file."""
    places = answers.outline(graph, path)
    if graph.facts(path) is None:
        return "\n".join(_bounded([str(place) for place in places], MOST_ENTRIES))
    rows = [
        f"{p.definition.first:6}\t{'  ' * p.definition.qualified.count('.')}{p.definition.signature}" for p in places
    ]
    return "\n".join(_bounded(rows, MOST_ENTRIES))


def neighbours(graph: Graph, symbol: str) -> str:
    """Callers and callees of a symbol, or importers and imports of a file."""
    found = answers.neighbours(graph, symbol)
    names = ("imported by", "imports") if graph.facts(symbol) is not None else ("called by", "calls")
    rows = []
    for name, items in zip(names, (found.before, found.after), strict=True):
        if items:
            rows += [f"{name}:", *_bounded([f"  {item}" for item in items], MOST_USES)]
    return "\n".join(rows)


def _bounded(rows: Sequence[str], most: int) -> list[str]:
    return [*rows[:most], *([f"[{len(rows) - most} more]"] if len(rows) > most else [])]


async def _lines(read: Reader, path: str) -> list[str]:
    try:
        return (await read(path)).decode("utf-8", "replace").split("\n")
    except OSError:
        return []
