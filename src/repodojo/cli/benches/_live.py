"""A pipeline that plays: the simulator's learner, and the real scheduler, agent loop, episodes and box stock.

Only what would need a machine is a fake: engines and environments take the seconds that a plan says (the engine by the
simulator's own cost model), boxes hold files in memory. So the seconds of a run are real, and can be compared with
what the simulator says of the same plans.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repodojo.agent.loop import AgentLimits
from repodojo.agent.policy import ModelPolicy
from repodojo.agent.tools import default_tools
from repodojo.core.errors import SandboxError
from repodojo.core.protocols import Completion, ExecResult, SamplingParams, Sandbox
from repodojo.core.records import Environment, Grader, Score, Source, Task, Trajectory
from repodojo.inference.chat import ChatFormat
from repodojo.inference.toolcalls import render
from repodojo.rollout.actions import Ticket
from repodojo.rollout.episode import Stage, run_order
from repodojo.rollout.orders import Order
from repodojo.rollout.simulation.engine import SimulatedEngine
from repodojo.rollout.simulation.outcome import Outcome, outcome
from repodojo.rollout.simulation.pipeline import Pipeline
from repodojo.rollout.simulation.techniques import Size, Techniques
from repodojo.rollout.simulation.workload import Drawn, Plan
from repodojo.rollout.worker import Slot
from repodojo.sandbox.ahead import PreparedBoxes
from repodojo.sandbox.environments import BoxSpec
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.fake import FakeSandbox
from repodojo.train.setup import base_path


@dataclass(eq=False)
class Attempt:
    """An episode as planned; `turn` is the one that it is at."""

    plan: Plan
    group: str
    turn: int = -1
    sampling: bool = False
    context: int = 0
    known: int = 0
    done: asyncio.Future[None] | None = field(default=None)


PLAYING: ContextVar[Attempt] = ContextVar("PLAYING")
"""The attempt of this asyncio task: boxes and graders look here how long they take."""


class LiveEngine:
    """A `Model` that says "run the tests" every turn, when the simulated engine would have sampled the plan."""

    def __init__(self, work: Drawn, chat: ChatFormat, *, prefix: bool) -> None:
        self.engine, self._prefix = SimulatedEngine(work.costs), prefix
        self._said = (*chat.encode(render("bash", {"command": "test"})), chat.stop_ids[0])
        self._prompts: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def generate(
        self, token_ids: Sequence[int], params: SamplingParams, *, seed: int, session: str = ""
    ) -> Completion:
        """After the plan's seconds; what is asked matters as little as what is said."""
        del token_ids, params, seed, session
        attempt, loop = PLAYING.get(), asyncio.get_running_loop()
        attempt.turn += 1
        plan, turn = attempt.plan, attempt.turn
        attempt.context += plan.observation_T[turn]
        known = (attempt.known or self._prompts.get(attempt.group, 0)) if self._prefix else 0
        prefill = attempt.context - known
        self._prompts.setdefault(attempt.group, plan.observation_T[0])
        attempt.context += plan.action_T[turn]
        attempt.known = attempt.context
        attempt.done = loop.create_future()
        self.engine.add(loop.time(), attempt, plan.action_T[turn], max(prefill, 1))
        self._plan()
        try:
            await attempt.done
        finally:
            if attempt.sampling:  # cancelled
                self.engine.remove(loop.time(), attempt)
                self._plan()
        return Completion(self._said, (-1.0,) * len(self._said), (0,) * len(self._said))

    def release(self, session: str) -> None:
        """Nothing is kept."""

    def stop(self, seconds: float) -> None:
        """Load weights."""
        self._prompts.clear()
        self.engine.stop(asyncio.get_running_loop().time(), seconds)
        self._plan()

    def _plan(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        due = self.engine.due(loop.time())
        self._timer = None if due is None else loop.call_at(due, self._sampled)

    def _sampled(self) -> None:
        for attempt in self.engine.done(asyncio.get_running_loop().time()):
            assert isinstance(attempt, Attempt) and attempt.done is not None
            if not attempt.done.done():
                attempt.done.set_result(None)
        self._plan()


class LiveBox(FakeSandbox):
    """Its commands take what the plan of whoever uses it says."""

    def __init__(self, hang_seconds: float) -> None:
        super().__init__({"a.py": b"x = 1\n"})
        self._hang_seconds = hang_seconds

    async def exec(self, *given: Any, **named: Any) -> ExecResult:
        attempt = PLAYING.get()
        plan, turn = attempt.plan, attempt.turn
        if turn == plan.fails_at:
            raise SandboxError("the box failed")
        await asyncio.sleep(self._hang_seconds if turn == plan.hangs_at else plan.environment_T[turn])
        if turn == plan.hangs_at:
            raise SandboxError("the box never answered")
        return await super().exec(*given, **named)


class LiveFactory(LocalFactory):
    """Boxes take their time to make."""

    def __init__(self, store: Path, work: Drawn) -> None:
        super().__init__(store)
        self._work, self._chance = work, random.Random(work.seed)

    async def real(self, spec: BoxSpec) -> Sandbox:
        del spec
        start = self._work.figures.environment.start
        await asyncio.sleep(min(start.median * self._chance.lognormvariate(0.0, start.sigma), start.most))
        return LiveBox(self._work.hang_seconds)


class _Pays:
    async def score(self, task: Task, changes: Mapping[str, bytes | None], trajectory: Trajectory | None) -> Score:
        del task, changes, trajectory
        await asyncio.sleep(PLAYING.get().plan.grading)
        return Score(1.0)


class LiveWorker:
    """What the pipeline wants of a worker: play, cancel, publish; episodes are real ones."""

    def __init__(self, places: int, pipeline: LivePipeline) -> None:
        self.free, self.pipeline = places, pipeline
        self._places = asyncio.Semaphore(places)
        techniques = pipeline.techniques
        self.model = LiveEngine(pipeline.work, pipeline.chat, prefix=techniques.prefix)
        self.boxes = PreparedBoxes(LiveFactory(pipeline.store, pipeline.work), 2 * places if techniques.warm else 0)
        self.running: dict[Ticket, asyncio.Task[str]] = {}
        self.attempts: dict[Ticket, Attempt] = {}

    @property
    def engine(self) -> SimulatedEngine:
        """For its share of busy time."""
        return self.model.engine

    def play(self, ticket: Ticket, plan: Plan, group: str, now: float) -> None:
        """Begin an episode."""
        del now
        self.attempts[ticket] = Attempt(plan, group)
        task = self.running[ticket] = asyncio.create_task(self._episode(ticket, self.attempts[ticket]))
        task.add_done_callback(lambda it: self._over(ticket, it))

    def cancel(self, ticket: Ticket, now: float) -> None:
        """Stop one, if it is not over."""
        del now
        if ticket in self.running:
            self.running[ticket].cancel()

    def publish(self, now: float) -> None:
        """New weights take their time to load, and what the old ones computed is computed again."""
        del now
        costs, void = self.pipeline.workload, 0
        for attempt in self.attempts.values():
            void += attempt.context if attempt.sampling else 0
            attempt.known = 0
        self.model.stop(costs.sync_seconds + void * costs.costs.prefill_token)

    async def close(self) -> None:
        """Nothing goes on."""
        running = list(self.running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self.boxes.close()

    async def _episode(self, ticket: Ticket, attempt: Attempt) -> str:
        PLAYING.set(attempt)
        pipeline = self.pipeline
        limits = AgentLimits(len(attempt.plan.action_T), 64, 100_000, 1e6, "none")
        stage = Stage(self.boxes, _Pays(), pipeline.chat, pipeline.tools, limits, memo=None)
        slot = Slot(self._places, lambda: pipeline.at_once(lambda now: pipeline.started(ticket, now)))
        order = Order(ticket[0], pipeline.task.id, attempt.group, seed=0)
        policy = ModelPolicy("live", self.model, pipeline.chat)
        apart = pipeline.techniques.grade_apart
        held: AbstractAsyncContextManager[object] = nullcontext() if apart else slot
        async with held:
            trajectory = await run_order(order, pipeline.task, policy, stage, slot if apart else None)
        return trajectory.score.error if trajectory.score.value is None else ""

    def _over(self, ticket: Ticket, task: asyncio.Task[str]) -> None:
        del self.running[ticket], self.attempts[ticket]
        if task.cancelled():
            self.pipeline.at_once(lambda now: self.pipeline.gone(ticket, now))
        else:  # what is no outage is a fault of ours: `result` raises it where the benchmark ends by it
            self.pipeline.at_once(lambda now: self.pipeline.finished(ticket, now, task.result()))


class LivePipeline(Pipeline):
    """The simulator's pipeline whose events happen when their time has come."""

    def __init__(self, work: Drawn, techniques: Techniques, size: Size, store: Path) -> None:
        super().__init__(work, techniques, size)
        self.work, self.store = work, store
        self.chat, self.tools = ChatFormat.load(base_path()), default_tools(400)
        environment = Environment(recipe={"kind": "python", "tree": "t"})
        self.task = Task("live", Source("fake"), "Run the tests.\n", environment, Grader())
        self.started, self.finished, self.gone = self._started, self._finished, self._gone
        self._woken = asyncio.Event()
        self._zero = asyncio.get_running_loop().time()
        self.live = [LiveWorker(worker.free, self) for worker in self.workers]
        self.workers = self.live  # type: ignore[assignment]

    async def play(self) -> Outcome:
        """To the end of the last step, in real time."""
        for place, worker in enumerate(self.live):
            self.scheduler.join(str(place), worker.free * 5 // 4)
        self._gather()
        self._carry_out()
        while self.step < self.size.steps:
            self.now = self.clock()
            if self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2](self.now)
                self._carry_out()
                continue
            self._woken.clear()
            wait = self._events[0][0] - self.now if self._events else None
            try:
                async with asyncio.timeout(wait):
                    await self._woken.wait()
            except TimeoutError:
                continue
        self.now = self.clock()
        await asyncio.gather(*(worker.close() for worker in self.live))
        busy = sum(worker.engine.busy for worker in self.live)
        return outcome(self.tally, self.now, busy, self.engines, self.scheduler.counts)

    def clock(self) -> float:
        """Seconds since the pipeline was made."""
        return asyncio.get_running_loop().time() - self._zero

    def at_once(self, call: Any) -> None:
        """As an event like any other: not in the middle of another one."""
        self._at(self.clock(), call)

    def _at(self, when: float, call: Any) -> None:
        super()._at(when, call)
        self._woken.set()


def play(work: Drawn, techniques: Techniques, size: Size) -> tuple[Outcome, dict[str, int]]:
    """One pipeline in real time: what came of it, and how many boxes were taken and how many of them were ready."""

    async def whole() -> tuple[Outcome, dict[str, int]]:
        with tempfile.TemporaryDirectory(prefix="repodojo-live-") as folder:
            (Path(folder) / "trees" / "t").mkdir(parents=True)
            pipeline = LivePipeline(work, techniques, size, Path(folder))
            found = await pipeline.play()
            names = ("taken", "ready")
            return found, {name: sum(worker.boxes.counts[name] for worker in pipeline.live) for name in names}

    return asyncio.run(whole())
