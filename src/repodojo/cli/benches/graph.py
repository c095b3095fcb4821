"""How fast is the code graph? Indexing and asking by name, against grep over the same files.

Every file of this Python's standard library is indexed, in all at least 100,000 lines (quick: 5,000). `ratio` is the
time of a grep for a name over that of a `references` query for it, both medians over the same names; before it is
timed, each query is checked to find at least one line that grep finds too.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from repodojo.agent.graph import answers
from repodojo.agent.graph.folder import FolderGraph
from repodojo.agent.graph.graph import CodeGraph
from repodojo.core.errors import UserError

SEED, NAMES = 0, 50
QUERIES: tuple[tuple[str, Callable[[CodeGraph, str], object]], ...] = (
    ("definition", answers.definitions),
    ("references", answers.references),
    ("neighbours", answers.neighbours),
)


def run(quick: bool) -> dict[str, Any]:
    """Index once, ask NAMES names, change one file, index again."""
    least = 5_000 if quick else 100_000
    with tempfile.TemporaryDirectory(prefix="repodojo-graph-") as name:
        root = Path(name)
        lines = _copy(root, least)
        start, cpu = time.perf_counter(), time.process_time()
        folder = FolderGraph(root)
        files = folder.refresh()
        indexing, cpu = time.perf_counter() - start, time.process_time() - cpu
        asked = _names(folder)
        grep: list[float] = []
        ours: dict[str, list[float]] = {kind: [] for kind, _ in QUERIES}
        for symbol in asked:
            seconds, hits = _grep(root, symbol)
            grep.append(seconds)
            _check(folder, symbol, hits)
            for kind, ask in QUERIES:
                ours[kind].append(_seconds(ask, folder.graph, symbol))
        again = _change(root, folder)
    return {
        "ratio": median(grep) / median(ours["references"]),
        "files": files,
        "lines": lines,
        "index_seconds": indexing,
        "index_cpu_seconds": cpu,
        "lines_per_second": lines / indexing,
        "reindex_seconds_one_file_changed": again,
        **{f"{kind}_ms_median": 1000 * median(values) for kind, values in ours.items()},
        **{f"{kind}_ms_worst": 1000 * max(values) for kind, values in ours.items()},
        "grep_ms_median": 1000 * median(grep),
        "seed": SEED,
    }


def _seconds(ask: Callable[[CodeGraph, str], object], graph: CodeGraph, symbol: str) -> float:
    """The best of three, so that what else runs here counts less."""
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        ask(graph, symbol)
        spent.append(time.perf_counter() - start)
    return min(spent)


def _copy(root: Path, least: int) -> int:
    """Standard-library files, until there are enough lines; how many there are."""
    library, lines = Path(sysconfig.get_path("stdlib")), 0
    for path in sorted(library.rglob("*.py")):
        if "site-packages" in path.parts or "test" in path.parts or path.stat().st_size > 1 << 20:
            continue
        target = root / path.relative_to(library)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        lines += path.read_bytes().count(b"\n")
        if lines >= least:
            return lines
    return lines


def _names(folder: FolderGraph) -> list[str]:
    """Names that are defined and used, drawn by chance."""
    graph = folder.graph
    known = {place.definition.name for place in answers.outline(graph, ".")}
    used = sorted(name for name in known if graph.using(name))
    return random.Random(SEED).sample(used, min(NAMES, len(used)))


def _grep(root: Path, symbol: str) -> tuple[float, set[str]]:
    start = time.perf_counter()
    argv = ["grep", "-rnIw", "--include=*.py", "--", symbol, "."]
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False, errors="replace")
    return time.perf_counter() - start, {":".join(hit.split(":", 2)[:2])[2:] for hit in done.stdout.splitlines()}


def _check(folder: FolderGraph, symbol: str, hits: set[str]) -> None:
    """Every line that the graph names holds the name; grep counts words otherwise where letters are not ASCII."""
    found = {f"{use.path}:{use.line}" for use in answers.references(folder.graph, symbol)}
    if not found or (re.fullmatch(r"\w+", symbol, re.ASCII) and not found <= hits):
        raise UserError(f"the graph and grep disagree about {symbol!r}: {sorted(found - hits)[:3]}")


def _change(root: Path, folder: FolderGraph) -> float:
    """Seconds to take in one changed file."""
    path = root / sorted(folder.graph.paths())[0]
    path.write_bytes(path.read_bytes() + b"\nadded_by_bench = 1\n")
    start = time.perf_counter()
    changed = folder.refresh()
    seconds = time.perf_counter() - start
    if changed != 1 or not folder.graph.defining("added_by_bench"):
        raise UserError(f"one file changed, and {changed} were read again")
    return seconds
