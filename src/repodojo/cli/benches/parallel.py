"""What do calls that run together save? One turn of calls that only look, in order and together, in a real box.

A turn of LOOKS searches and reads of a real package (a task set made for it), through the agent's own tools. `ratio` is
the wall-clock of the turn with every call on its own over that with up to LOOKS at a time; both give the same results,
which is checked. On a machine with one free core there is little to gain but the starts.
"""

from __future__ import annotations

import asyncio
import shutil
import sysconfig
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from repodojo.agent.together import Ready, run_calls
from repodojo.agent.tools import ToolContext, default_tools
from repodojo.core.errors import UserError
from repodojo.core.protocols import Limits, Sandbox
from repodojo.core.records import Environment, Grader, Source, Task, ToolCall
from repodojo.inference.toolcalls import RawCall
from repodojo.sandbox.factory import LocalFactory

LOOKS = 8
WORDS = ("return", "class", "import", "raise", "yield", "lambda", "global", "async")


def run(quick: bool) -> dict[str, Any]:
    """30 turns each way (quick: 2), interleaved."""
    with tempfile.TemporaryDirectory(prefix="repodojo-parallel-") as name:
        store = Path(name)
        _tree(store / "trees" / "library", 40 if quick else 400)
        return asyncio.run(_measure(store, 2 if quick else 30))


def _tree(root: Path, most: int) -> None:
    """A folder with modules of the standard library."""
    root.mkdir(parents=True)
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:most]:
        shutil.copy(path, root)


async def _measure(store: Path, turns: int) -> dict[str, Any]:
    factory = LocalFactory(store, limits=Limits(seconds=120.0), allow_unisolated=True)
    environment = Environment(recipe={"kind": "python", "tree": "library"})
    task = Task("parallel", Source("library"), "", environment, Grader())
    try:
        box = await factory.create(environment)
        seconds: dict[int, list[float]] = {1: [], LOOKS: []}
        overlap = 0.0
        for _ in range(turns):
            outputs = {}
            for most, spent in seconds.items():
                took, outputs[most], share = await _turn(task, box, most)
                spent.append(took)
                overlap = share if most > 1 else overlap
            if outputs[1] != outputs[LOOKS]:
                raise UserError("calls that ran together gave other results")
    finally:
        await factory.close()
    apart, together = median(seconds[1]), median(seconds[LOOKS])
    return {
        "ratio": apart / together,
        "in_order_ms": 1000 * apart,
        "together_ms": 1000 * together,
        "calls": LOOKS,
        "turns": turns,
        "mean_calls_at_once": overlap,
        "isolation": factory.level.name,
    }


async def _turn(task: Task, box: Sandbox, most: int) -> tuple[float, list[str], float]:
    """Seconds of a turn, its outputs, and how many calls ran at a time on average (from the trace)."""
    tools, context = default_tools(), ToolContext(task, box)
    calls = [ToolCall("search", {"query": f"{word} [a-z]+x"}) for word in WORDS]
    ready: list[Ready] = [(call, *tools.check(RawCall(call.name, call.arguments))) for call in calls]
    start = time.perf_counter()
    results = await run_calls(ready, tools, context, most)
    spent = time.perf_counter() - start
    return spent, [result.output for result in results], sum(result.seconds for result in results) / spent
