"""The share of an episode that is neither model nor tests: our own cost, against the goal of 5%.

Real episodes of the base that ships, on tasks made on the spot, in real boxes, one after the other: wall-clock of
engine calls is the model's, of commands in boxes the tests', the rest is `share`: boxes made (`boxes_share`) and
closed (`close_share`), files and differences fetched from boxes and put there (`files_share`), prompts and observations
rendered (`render_share`), and what is left, parsing and scoring above all (`other_share`). `ratio` is 0.05 / share,
above 1 where the goal is met. `turns` and `boxes` are means an episode.
`crowd_share` is of 8 episodes at once: CPU of this process outside the engine's steps over all of its CPU (tests run in
other processes and are not counted, so it is the stricter figure).
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repodojo.agent.loop import AgentLimits
from repodojo.agent.policy import ModelPolicy
from repodojo.agent.tools import default_tools
from repodojo.cli.benches._common import one_thread
from repodojo.cli.benches._school import make_store
from repodojo.core.errors import TaskError
from repodojo.core.protocols import Completion, SamplingParams, Sandbox
from repodojo.core.records import Environment, Task
from repodojo.inference.chat import ChatFormat
from repodojo.inference.engine import Engine
from repodojo.rewards.grade import TestReward
from repodojo.rollout.episode import Stage, run_order
from repodojo.rollout.orders import Order
from repodojo.sandbox.environments import BoxSpec
from repodojo.sandbox.factory import LocalFactory
from repodojo.train import setup

LIMITS = AgentLimits(max_turns=6, max_tokens=96, max_context=1024)


class _Clock:
    """Seconds by what they were spent on; making a box counts as that alone, whatever waits for it."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.turns = self.boxes = 0

    @contextlib.contextmanager
    def on(self, part: str) -> Iterator[None]:
        start, making = time.perf_counter(), self.seconds["boxes"]
        try:
            yield
        finally:
            made = self.seconds["boxes"] - making
            self.seconds[part] += time.perf_counter() - start - made


class _TimedModel:
    """An engine whose calls are timed."""

    def __init__(self, engine: Engine, clock: _Clock) -> None:
        self.engine, self.clock = engine, clock

    async def generate(
        self, token_ids: Sequence[int], params: SamplingParams, *, seed: int, session: str = ""
    ) -> Completion:
        self.clock.turns += 1
        with self.clock.on("model"):
            return await self.engine.generate(token_ids, params, seed=seed, session=session)

    def release(self, session: str) -> None:
        self.engine.release(session)


class _TimedChat(ChatFormat):
    """A chat format whose rendering is timed."""

    def __init__(self, tokenizer: Any, clock: _Clock) -> None:
        super().__init__(tokenizer)
        self.clock = clock

    def opening(self, messages: Sequence[Mapping[str, str]], tools: Sequence[Mapping[str, Any]]) -> list[int]:
        with self.clock.on("render"):
            return super().opening(messages, tools)

    def observation(self, outputs: Sequence[str], *, stopped: bool) -> list[int]:
        with self.clock.on("render"):
            return super().observation(outputs, stopped=stopped)

    def decode(self, ids: Sequence[int]) -> str:
        with self.clock.on("render"):
            return super().decode(ids)


PARTS = {"exec": "tests", "read": "files", "write": "files", "listdir": "files", "changes": "files", "close": "close"}


class _TimedBoxes:
    """A factory whose boxes' calls are timed, without the making of a box, which its first command waits for."""

    def __init__(self, factory: LocalFactory, clock: _Clock) -> None:
        self.factory, self.clock = factory, clock
        make = factory.real

        async def timed(spec: BoxSpec) -> Sandbox:
            clock.boxes += 1
            start = time.perf_counter()
            box = await make(spec)
            clock.seconds["boxes"] += time.perf_counter() - start
            return box

        factory.real = timed  # type: ignore[method-assign]

    async def create(self, environment: Environment) -> Sandbox:
        box = await self.factory.create(environment)
        for name, part in PARTS.items():
            setattr(box, name, self._timed(getattr(box, name), part))
        return box

    def _timed(self, call: Callable[..., Awaitable[Any]], part: str) -> Callable[..., Awaitable[Any]]:
        async def timed(*args: Any, **kwargs: Any) -> Any:
            with self.clock.on(part):
                return await call(*args, **kwargs)

        return timed

    async def close(self) -> None:
        await self.factory.close()


def run(quick: bool) -> dict[str, Any]:
    """See the module; `quick` is 2 episodes alone and 4 at once."""
    with tempfile.TemporaryDirectory() as folder, one_thread():
        store = make_store(Path(folder))
        tasks = store.tasks()
        if not tasks:
            raise TaskError("no task could be made", way_out="see `repodojo doctor`")
        return asyncio.run(_measure(store.path, tasks, *((2, 4) if quick else (24, 48))))


async def _measure(store: Path, tasks: Sequence[Task], alone: int, crowd: int) -> dict[str, Any]:
    base, clock = setup.base_path(), _Clock()
    chat = _TimedChat(ChatFormat.load(base).tokenizer, clock)
    engine = Engine(base, max_context=LIMITS.max_context)
    boxes = _TimedBoxes(LocalFactory(store, allow_unisolated=True), clock)
    stage = Stage(boxes, TestReward(boxes), chat, default_tools(400), LIMITS, memo=None)
    policy = ModelPolicy("base", _TimedModel(engine, clock), chat)

    async def one(seed: int) -> None:
        task = tasks[seed % len(tasks)]
        await run_order(Order(f"e{seed}", task.id, task.id, seed), task, policy, stage)

    try:
        await one(-1)  # starts the boxes' server
        clock.seconds.clear()
        clock.turns = clock.boxes = 0
        start = time.perf_counter()
        for seed in range(alone):
            await one(seed)
        wall = time.perf_counter() - start
        parts = {part: clock.seconds[part] / wall for part in ("model", "tests", "boxes", "close", "files", "render")}
        counts = {"turns": clock.turns / alone, "boxes": clock.boxes / alone}
        crowd_share = await _crowd(one, engine, range(alone, alone + crowd))
    finally:
        await boxes.close()
    share = 1 - parts["model"] - parts["tests"]
    figures = {"share": share, **{f"{part}_share": found for part, found in parts.items()}}
    figures |= {"other_share": 1 - sum(parts.values()), "crowd_share": crowd_share}
    return {"ratio": 0.05 / share, **figures, **counts, "episodes": alone, "seconds_an_episode": wall / alone}


async def _crowd(one: Any, engine: Engine, seeds: range) -> float:
    """CPU outside the engine's steps over all CPU of this process, 8 episodes at once."""
    gate = asyncio.Semaphore(8)

    async def gated(seed: int) -> None:
        async with gate:
            await one(seed)

    start, before = time.process_time(), engine.stats().cpu_seconds
    await asyncio.gather(*(gated(seed) for seed in seeds))
    return 1 - (engine.stats().cpu_seconds - before) / (time.process_time() - start)
