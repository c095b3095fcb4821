"""coupling: what the change does to the import graph.

    score = 0.5 ** (crossing + 2 * circular + fan_out / 4)

crossing: new imports of a module of another package (folder);  circular: modules that are on an import cycle now and
were not before;  fan_out: all new imports between modules of the repository. Taking edges away earns nothing.
The graph is ruff's (`ruff analyze graph`, which parses and runs nothing), the cycles are networkx's.

Gamed by: importing inside a function by `importlib`, or copying code instead of importing it; `reuse` sees the copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from repodojo.core.errors import GradingError
from repodojo.rewards import linting
from repodojo.rewards.process.work import Work

Graph = Mapping[str, Sequence[str]]


async def score(work: Work) -> float:
    """1 where no module imports more than before. GradingError where ruff fails on the repository as it was."""
    if not any(path.endswith(".py") for path in work.changed):
        return 1.0
    try:
        before = await linting.imports(work.base)
    except linting.RuffRefused as error:
        raise GradingError(f"ruff: {error}") from None
    try:
        after = await linting.imports(work.after())
    except linting.RuffRefused:  # it answered on the repository as it was
        return 0.0
    return change(before, after)


def change(before: Graph, after: Graph) -> float:
    """The score of going from one graph to another.

    >>> change({"a.py": [], "b.py": []}, {"a.py": ["b.py"], "b.py": ["a.py"]}) == 0.5 ** (2 * 2 + 2 / 4)
    True
    """
    new = _edges(after) - _edges(before)
    crossing = sum(source.rpartition("/")[0] != target.rpartition("/")[0] for source, target in new)
    circular = len(_on_cycles(after) - _on_cycles(before)) if new else 0
    return float(0.5 ** (crossing + 2 * circular + len(new) / 4))


def _edges(graph: Graph) -> set[tuple[str, str]]:
    return {(source, target) for source, targets in graph.items() for target in targets}


def _on_cycles(graph: Graph) -> set[str]:
    import networkx

    whole = networkx.DiGraph(sorted(_edges(graph)))
    return {module for part in networkx.strongly_connected_components(whole) if len(part) > 1 for module in part}
