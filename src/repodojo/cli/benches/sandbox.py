"""Boxes against SWE-ReX's local deployment: create, exec, reset, destroy, and memory a box.

Ours: `--boxes` boxes of a small repository alive at once (200; 20 with --quick), each made after the other, isolated
where this machine can. exec is `true`, first with few and then with all alive; reset is a box given back and another
made, up to its first command; destroy is the time until all of their processes are gone, a box. Theirs, in an
environment of its own: sessions of a local deployment, which isolate nothing and copy nothing. `ratio` is the time of
one life (create, exec, destroy), theirs over ours; memory is PSS of all processes, and for ours also what the machine
has less of while the boxes live (which other work disturbs). Ours are measured with the C init, where this machine can
compile it, and then all again with the Python one (`python_...`).
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

from repodojo.cli.benches import _swerex
from repodojo.core.errors import ConfigError
from repodojo.core.protocols import Limits, Sandbox
from repodojo.core.records import Environment
from repodojo.sandbox import level as levels
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.local.native import Init

SPARE_PROCESSES = 1000
GONE_SECONDS = 300.0
CREATE_SECONDS = 900.0
"""After this no further box is made: what stands is measured, and `boxes` says how many."""
LIMITS = Limits(seconds=120.0, memory_mb=256, processes=16, disk_mb=16, files=2048)
PYTHON_BOXES = 1000
"""With the Python init, at most: each holds 3 MB of its own."""
ENVIRONMENT = Environment(recipe={"kind": "python", "tree": "small"})


def run(quick: bool, boxes: int = 0, alone: bool = False) -> dict[str, Any]:
    """See the module; `boxes` 0 is its default, `alone` leaves SWE-ReX out (there is no ratio then)."""
    count = boxes or (20 if quick else 200)
    rounds = 10 if quick else 50
    _room_for(count)
    if not alone:
        _swerex.environment()  # refused before anything is measured
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "trees" / "small" / "pkg"
        package.mkdir(parents=True)
        for i in range(50):
            (package / f"m{i}.py").write_text(f"def f(x):\n    return x + {i}\n" * 20)
        native = levels.probe().init is not None
        ours = asyncio.run(_ours(Path(folder), count, rounds, "auto"))
        if native:
            again = asyncio.run(_ours(Path(folder), min(count, PYTHON_BOXES), rounds, "python"))
            ours |= {"python_boxes": again["boxes"]}
            ours |= {f"python_{name}": value for name, value in again.items() if name.endswith(("_ms", "_kb"))}
        ours["init"] = "c" if native else "python"
    if alone:
        return ours
    theirs = _swerex.measured(5 if quick else 20, rounds)
    ratios = {f"{kind}_ratio": theirs[f"{kind}_ms"] / ours[f"{kind}_ms"] for kind in ("create", "exec", "reset")}
    return {"ratio": _life(theirs) / _life(ours), **ratios, **ours, **{f"theirs_{k}": v for k, v in theirs.items()}}


def _life(found: dict[str, Any]) -> float:
    return float(found["create_ms"] + found["exec_ms"] + found["destroy_ms"])


def _room_for(count: int) -> None:
    """As many descriptors as are allowed here (`local.lines` spreads more), and processes, or ConfigError."""
    most = int(Path("/proc/sys/kernel/pid_max").read_text()) if os.path.exists("/proc/sys/kernel/pid_max") else 1 << 15
    if count + SPARE_PROCESSES > most:
        raise ConfigError(
            f"{count} boxes need as many processes, and this machine allows {most}",
            way_out="give fewer with --boxes, or raise kernel.pid_max",
        )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _ours(store: Path, count: int, rounds: int, init: Init) -> dict[str, Any]:
    factory = LocalFactory(store, limits=LIMITS, lazy=False, allow_unisolated=True, init=init)
    try:
        began = time.perf_counter()
        first = await factory.create(ENVIRONMENT)  # starts the fork server
        server = 1000 * (time.perf_counter() - began)
        few = [await _timed(first.exec(("true",))) for _ in range(rounds)]
        python = [await _timed(first.exec(("python", "-c", ""))) for _ in range(max(rounds // 5, 2))]
        before, free, processes = _pss(), _free_kb(), _count()
        boxes: list[Sandbox] = []
        create, late = list[float](), time.monotonic() + CREATE_SECONDS
        while len(boxes) < count and time.monotonic() < late:
            create.append(await _made(factory, boxes))
        count = len(boxes)
        memory = {"pss_kb": (_pss() - before) / count, "machine_kb": (free - _free_kb()) / count}
        many = [await _timed(boxes[i % count].exec(("true",))) for i in range(rounds)]
        used = [await _used(factory) for _ in range(rounds)]
        reset = [await _timed(_again(factory, boxes, i)) for i in range(min(rounds, count))]
        destroy = await _destroyed(boxes, processes)
    finally:
        await factory.close()
    edge = max(count // 10, 1)
    return {
        "boxes": count,
        "isolation": factory.level.name,
        "create_ms": statistics.median(create),
        "create_first_ms": statistics.median(create[:edge]),
        "create_last_ms": statistics.median(create[-edge:]),
        "exec_ms": statistics.median(few),
        "exec_all_alive_ms": statistics.median(many),
        "exec_python_ms": statistics.median(python),
        "server_ms": server,
        "write_first_ms": statistics.median(first for first, _, _ in used),
        "write_ms": statistics.median(again for _, again, _ in used),
        "warm_ms": statistics.median(warm for _, _, warm in used),
        "reset_ms": statistics.median(reset),
        "destroy_ms": destroy / count,
        **memory,
    }


async def _timed(work: Awaitable[Any]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    await work
    return 1000 * (time.perf_counter() - began)


async def _made(factory: LocalFactory, boxes: list[Sandbox]) -> float:
    began = time.perf_counter()
    boxes.append(await factory.create(ENVIRONMENT))
    return 1000 * (time.perf_counter() - began)


async def _used(factory: LocalFactory) -> tuple[float, float, float]:
    """Of a new box: its first write, another, and a warm run, as grading has them."""
    box = await factory.create(ENVIRONMENT)
    times = [await _timed(box.write("pkg/new.py", b"x = 1\n")) for _ in range(2)]
    times.append(await _timed(box.exec(("python", "pkg/new.py"), warm=True)))
    await box.close()
    return times[0], times[1], times[2]


async def _again(factory: LocalFactory, boxes: list[Sandbox], place: int) -> None:
    await boxes[place].close()
    boxes[place] = await factory.create(ENVIRONMENT)
    await boxes[place].exec(("true",))


async def _destroyed(boxes: Sequence[Sandbox], processes: int) -> float:
    """Milliseconds until as few processes are left as there were before the boxes."""
    began = time.perf_counter()
    for box in boxes:
        await box.close()
    await asyncio.to_thread(gone, processes)
    return 1000 * (time.perf_counter() - began)


def gone(processes: int) -> bool:
    """Wait until no more than that many descendants are left, holders of sockets apart; False where they stay."""
    began = time.monotonic()
    while (left := _count()) > processes and time.monotonic() - began < GONE_SECONDS:
        time.sleep(0.005)
    return left <= processes


def _descendants() -> list[int]:
    """Every process that this one started, and those that they started."""
    return _below(_children())


def _below(children: dict[int, list[int]]) -> list[int]:
    found, waiting = list[int](), [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _children() -> dict[int, list[int]]:
    """Processes by the one that started them."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                parent = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it ended meanwhile
                continue
            children.setdefault(parent, []).append(int(name))
    return children


def _count() -> int:
    """Descendants without holders of sockets (`local.lines`): those stay while any box is open."""
    children = _children()
    return len(_below(children)) - sum(_holds(pid) for pid in children.get(os.getpid(), []))


def _holds(pid: int) -> bool:
    try:
        return b"repodojo.sandbox.local.lines" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return False


def _pss() -> float:
    """KiB of memory of the processes below this one, shared pages counted once over all; 0 where none may be read."""
    total = 0
    for pid in _descendants():
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # gone, or another user's
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return float(total)


def _free_kb() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
