"""Does a long run stay flat? The last tenth of many episodes against an early tenth, with trouble all along.

The real agent loop, episode edge, scheduler and run store, with a fake model (`inference.fake`) and fake boxes of which
one in ten fails, hangs (until its deadline) or is killed in the middle. `ratio` is the worst of four flatnesses, early
over late: memory, open file descriptors, bytes stored a trajectory, and CPU time a step. 1 is flat, below 1 grows.

`..._growth` is the least-squares slope as a share of the mean over the whole run, `_low` and `_high` its 95% interval
(percentile bootstrap over blocks of steps, Efron 1979; blocks, since neighbouring steps are alike). `flat` says that no
interval reaches above 5%. `curve` has the medians of each tenth of the run; the first tenth is not part of the slope,
since pools and caches fill.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from repodojo.agent.loop import AgentLimits
from repodojo.agent.policy import ModelPolicy
from repodojo.agent.tools import default_tools
from repodojo.core.errors import SandboxError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import Environment, Grader, Score, Source, Task, Trajectory
from repodojo.inference.chat import ChatFormat
from repodojo.inference.fake import Call, FakeModel
from repodojo.inference.toolcalls import render
from repodojo.rollout.actions import Accept, Action, Cancel, Play, Ticket
from repodojo.rollout.episode import Stage, run_order, unplayed
from repodojo.rollout.orders import Order, group_orders
from repodojo.rollout.rules import Rules
from repodojo.rollout.scheduler import Scheduler
from repodojo.sandbox.fake import FakeSandbox
from repodojo.train.setup import base_path
from repodojo.train.store import TrajectoryStore

BOX = {"a.py": b"def f(x):\n    return x - 1\n"}
TASK = Task("soak", Source("fake"), "`f` in a.py gives a wrong result.\n", Environment(), Grader(), focus=("a.py::f",))
EDIT = render("editor", {"command": "str_replace", "old_str": "x - 1", "new_str": "x + 1"})
GROUP, GROUPS, DEADLINE = 8, 16, 0.5
TROUBLE = 0.1
BLOCKS, RESAMPLES, MOST_GROWTH = 30, 2000, 0.05
MEASURES = ("memory_mb", "descriptors", "stored_bytes", "cpu_seconds")


def run(quick: bool) -> dict[str, Any]:
    """50,000 episodes (quick: 1,280), in steps of 16 groups of 8."""
    episodes = 1_280 if quick else 50_000
    with tempfile.TemporaryDirectory(prefix="repodojo-soak-") as folder:
        soak = Soak(Path(folder) / "trajectories.db")
        marks = asyncio.run(soak.play(steps=-(-episodes // (GROUP * GROUPS))))
        soak.store.close()
    early, late = marks[len(marks) // 10 : len(marks) // 5], marks[-(len(marks) // 10) :]
    flat = {name: _flatness(name, early, late) for name in MEASURES}
    grown = {name: growth([getattr(mark, name) for mark in marks[len(marks) // 10 :]]) for name in MEASURES}
    return {
        "ratio": min(flat.values()),
        "flat": all(high <= MOST_GROWTH for _, _, high in grown.values()),
        **{f"{name}_growth": value for name, (value, _, _) in grown.items()},
        **{f"{name}_growth_low": low for name, (_, low, _) in grown.items()},
        **{f"{name}_growth_high": high for name, (_, _, high) in grown.items()},
        "curve": curve(marks),
        **{f"{name}_flatness": value for name, value in flat.items()},
        **{f"{name}_early": median(getattr(m, name) for m in early) for name in flat},
        **{f"{name}_late": median(getattr(m, name) for m in late) for name in flat},
        "episodes": soak.stored,
        "outages": soak.outages,
        "trouble": dict(soak.trouble),
        "scheduler": dict(soak.scheduler.counts),
    }


@dataclass(frozen=True)
class Mark:
    """What one step left behind; stored_bytes and cpu_seconds are of this step, the bytes for each trajectory."""

    memory_mb: float
    descriptors: float
    stored_bytes: float
    cpu_seconds: float


def _flatness(name: str, early: Sequence[Mark], late: Sequence[Mark]) -> float:
    return float(median(getattr(m, name) for m in early) / median(getattr(m, name) for m in late))


def growth(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Slope of one value a step, times the steps, over the mean: growth over all of them, and its 95% interval.

    >>> [round(value, 3) for value in growth([4.0] * 50)]
    [0.0, 0.0, 0.0]
    """
    blocks = np.array_split(np.asarray(values, dtype=float), min(BLOCKS, len(values)))
    level = np.array([np.median(block) for block in blocks])
    place = np.arange(len(level)) / max(len(level) - 1, 1)
    chosen = np.random.default_rng(seed).integers(len(level), size=(RESAMPLES, len(level)))
    x, y = place[chosen], level[chosen]
    away = x - x.mean(axis=1, keepdims=True)
    spread = np.maximum((away**2).sum(axis=1), 1e-12)  # all of one block: no slope
    slopes = (away * y).sum(axis=1) / spread / level.mean()
    low, high = np.quantile(slopes, [0.025, 0.975]).tolist()
    away = place - place.mean()
    return float((away * level).sum() / max((away**2).sum(), 1e-12) / level.mean()), low, high


def curve(marks: Sequence[Mark], rows: int = 10) -> list[dict[str, float]]:
    """Medians of each tenth of the run, by the episodes that were over at its end."""
    ends = [len(marks) * (row + 1) // rows for row in range(rows)]
    parts = [(end, marks[begin:end]) for begin, end in zip([0, *ends], ends, strict=False) if end > begin]
    return [
        {"episodes": end * GROUP * GROUPS} | {name: float(median(getattr(m, name) for m in part)) for name in MEASURES}
        for end, part in parts
    ]


class TroubledBox(FakeSandbox):
    """Looks well, and then is not: at its second reading it fails, never answers, or is gone."""

    def __init__(self, trouble: str) -> None:
        super().__init__(BOX)
        self.trouble, self.reads = trouble, 0

    async def read(self, path: str) -> bytes:
        self.reads += 1
        if self.reads > 1 and self.trouble == "hangs":
            await asyncio.Event().wait()
        if self.reads > 1 and self.trouble:
            raise SandboxError(f"the box {self.trouble}")
        return await super().read(path)


class TroubledFactory:
    """One box in ten is in for trouble of some kind."""

    def __init__(self, trouble: Counter[str]) -> None:
        self.chance, self.trouble = random.Random(0), trouble

    async def create(self, environment: Environment) -> Sandbox:
        del environment
        kind = self.chance.choice(("fails", "hangs", "was killed")) if self.chance.random() < TROUBLE else ""
        self.trouble[kind or "none"] += 1
        return TroubledBox(kind)

    async def close(self) -> None:
        """They hold nothing."""


class _Pays:
    async def score(self, task: Task, changes: Mapping[str, bytes | None], trajectory: Trajectory | None) -> Score:
        del task, trajectory
        return Score(float(b"x + 1" in (changes.get("a.py") or b"")))


class Soak:
    """Steps of groups under the real scheduler, in this process: the parent's side of a run without its workers."""

    def __init__(self, path: Path) -> None:
        self.trouble: Counter[str] = Counter()
        self.store = TrajectoryStore(path, write=True)
        self.scheduler = Scheduler(Rules(deadline=DEADLINE, retries=3, retry_share=1.0))
        self.scheduler.join("here", slots=GROUP * GROUPS)
        chat = ChatFormat.load(base_path())
        self.said = [[*chat.encode(text), chat.stop_ids[0]] for text in (EDIT, render("submit", {}))]
        self.opening = 0  # tokens of the prompt, the same for all
        self.model = FakeModel(self._says)
        self.policy = ModelPolicy("model", self.model, chat)
        self.stage = Stage(TroubledFactory(self.trouble), _Pays(), chat, default_tools(400), AgentLimits(4, 200, 4000))
        self.stored = self.outages = 0
        self.running: dict[Ticket, asyncio.Task[Trajectory]] = {}
        self.orders: dict[str, Order] = {}
        self.back: dict[str, Trajectory] = {}
        self.accepted: list[Trajectory] = []

    def _says(self, call: Call) -> Sequence[int]:
        """The edit after the opening, then that it is done."""
        self.opening = self.opening or len(call.token_ids)
        return self.said[len(call.token_ids) > self.opening]

    async def play(self, steps: int) -> list[Mark]:
        """Each step: ask for groups, play them out, store them, look at what the process holds."""
        marks = []
        for step in range(steps):
            cpu, size = time.process_time(), _size(self.store.path)
            await self._step(step)
            self.store.add(self.accepted, stage="rl", step=step, pending=step)
            self.stored += len(self.accepted)
            self.outages += sum(t.score.value is None for t in self.accepted)
            grown = (_size(self.store.path) - size) / len(self.accepted)
            self.accepted.clear()
            self.orders.clear()
            self.model.calls.clear()  # the fakes remember everything for tests; here that is the leak
            self.model.released.clear()
            gc.collect()
            marks.append(Mark(_memory_mb(), len(os.listdir("/proc/self/fd")), grown, time.process_time() - cpu))
        return marks

    async def _step(self, step: int) -> None:
        orders = group_orders([TASK.id] * GROUPS, size=GROUP, prefix=f"soak/{step}", seed=0)
        self.orders.update((order.id, order) for order in orders)
        for first in range(0, len(orders), GROUP):
            members = [order.id for order in orders[first : first + GROUP]]
            self._do(self.scheduler.ask(orders[first].group_id, members, need=GROUP))
        while self.scheduler.in_flight() or self.running:
            alarm = self.scheduler.next_alarm()
            seconds = None if alarm is None else max(alarm - time.monotonic(), 0.0)
            await asyncio.wait(self.running.values(), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for ticket in [ticket for ticket, task in self.running.items() if task.done()]:
                self._over(ticket, self.running.pop(ticket))
            self._do(self.scheduler.tick(time.monotonic()))

    def _over(self, ticket: Ticket, task: asyncio.Task[Trajectory]) -> None:
        if task.cancelled():
            self._do(self.scheduler.gone(ticket))
            return
        trajectory = task.result()
        if self.scheduler.awaits(ticket):
            self.back[trajectory.id] = trajectory
        failure = "" if trajectory.score.value is not None else trajectory.score.error
        self._do(self.scheduler.finished(ticket, time.monotonic(), failure))

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Play(_, tickets):
                    for ticket in tickets:
                        order = self.orders[ticket[0]]
                        self.running[ticket] = asyncio.create_task(run_order(order, TASK, self.policy, self.stage))
                        self.scheduler.started(ticket, time.monotonic())
                case Cancel(_, tickets):
                    for ticket in tickets:
                        self.running[ticket].cancel()
                case Accept(ticket, failure):
                    back = self.back.pop(ticket[0], None)
                    self.accepted.append(back or unplayed(self.orders[ticket[0]], failure))


def _size(path: Path) -> int:
    """Bytes of a database's pages, its log's included: its files grow by leaps, whenever the log is copied back."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as found:
        (pages,), (size,) = (found.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    return int(pages) * int(size)


def _memory_mb() -> float:
    """Resident, of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
