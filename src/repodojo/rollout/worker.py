"""A worker process: one engine, its own or a server's, and as many episodes at once as it was told."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repodojo.agent import editing
from repodojo.agent.kit import toolset
from repodojo.agent.policy import ModelPolicy, Policy
from repodojo.agent.scripted.scripts import scripted
from repodojo.agent.tools.base import Memo
from repodojo.core.editing import is_edit
from repodojo.core.errors import RepodojoError
from repodojo.core.records import Task
from repodojo.inference.chat import ChatFormat
from repodojo.rollout.actions import Ticket
from repodojo.rollout.engines import sampler
from repodojo.rollout.episode import Stage, run_order
from repodojo.rollout.orders import MODEL, Order, PoolSettings
from repodojo.sandbox.ahead import PreparedBoxes

if TYPE_CHECKING:
    from repodojo.gateway.harness import Harness


# Messages to a worker: ("play", [(Order, Ticket)]), ("cancel", [Ticket]), ("publish", version, path),
# ("threads", count), ("stop",). From it: ("ready",), ("started", Ticket, time), ("done", Ticket, Trajectory),
# ("gone", Ticket) for what was cancelled, ("published", version, counts), ("failed", exception or text). Times are of
# the machine's monotonic clock.


def main(connection: Connection, settings: PoolSettings, place: int) -> None:
    """Entry of the process at this place among its like. Ctrl-C is the parent's affair; without parent this ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    outbox = Outbox(connection)
    try:
        asyncio.run(Worker(connection, outbox, settings, place).serve())
    except RepodojoError as error:
        outbox.put(("failed", error))
    except Exception:  # the edge of the process: the parent must learn why it ends
        outbox.put(("failed", traceback.format_exc()))
    outbox.close()


class Outbox:
    """Sends from a thread of its own: while the parent learns it reads nothing, and episodes must go on meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queue: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def put(self, message: tuple[Any, ...]) -> None:
        """Never blocks; what cannot be sent because the parent is gone is dropped."""
        self._queue.put(message)

    def close(self) -> None:
        """Wait a moment for what is still to be sent."""
        self._queue.put(None)
        self._thread.join(2)

    def _send(self) -> None:
        while (message := self._queue.get()) is not None:
            try:
                self._connection.send(message)
            except OSError:
                return


class Slot:
    """One of the places at which episodes play; tells when it was got."""

    def __init__(self, places: asyncio.Semaphore, tell: Callable[[], None]) -> None:
        self._places, self._tell = places, tell

    async def __aenter__(self) -> None:
        await self._places.acquire()
        self._tell()

    async def __aexit__(self, *_: object) -> None:
        self._places.release()


class Worker:
    """Plays orders as they come and sends back each trajectory when it is scored."""

    def __init__(self, connection: Connection, outbox: Outbox, settings: PoolSettings, place: int = 0) -> None:
        self.connection, self.outbox, self.settings = connection, outbox, settings
        self.weights: Path | None = None
        self.chat = ChatFormat.load(Path(settings.model))
        self.sampler = sampler(settings, place)
        self.tasks: dict[str, Task] = {}
        self.policies: dict[tuple[str, float], Policy] = {}
        self.free = asyncio.Semaphore(settings.concurrency)
        self.running: dict[Ticket, asyncio.Task[None]] = {}
        self.boxes = self._boxes()
        self.stage = self._stage()

    def _boxes(self) -> PreparedBoxes:
        from repodojo.sandbox.factory import LocalFactory

        s = self.settings
        factory = LocalFactory(Path(s.store), limits=s.box, allow_unisolated=s.allow_unisolated, init=s.init)
        return PreparedBoxes(factory, s.prepared_boxes)

    def _stage(self) -> Stage:
        from repodojo.rewards.attacker import AttackerReward, HeldOut
        from repodojo.rewards.compose import composed
        from repodojo.rewards.graders.graded import GradedReward
        from repodojo.tasks.store import TaskStore

        s, boxes = self.settings, self.boxes
        self.tasks = {task.id: task for task in TaskStore(Path(s.store)).tasks()}
        reward = composed(GradedReward(boxes), boxes, s.reward)
        if s.attacker:
            reward = AttackerReward(reward, HeldOut(boxes))
        memo = Memo() if s.memo_tests else None
        return Stage(boxes, reward, self.chat, toolset(s.kit), s.agent, memo)

    async def serve(self) -> None:
        """Until told to stop, or until the parent is gone."""
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        loop.add_reader(self.connection.fileno(), self._receive, inbox.put_nowait)
        others = contextlib.AsyncExitStack()
        try:
            if self.settings.command:
                self.stage.harness = await self._harness(others)
            self.outbox.put(("ready",))
            while True:
                message = await inbox.get()
                if message[0] == "stop":
                    return
                self._obey(message)
        finally:
            loop.remove_reader(self.connection.fileno())
            await self._end(others)

    async def _harness(self, others: contextlib.AsyncExitStack) -> Harness:
        """A gateway to this worker's engine for the agent that is a command; it needs the [serve] extra."""
        from repodojo.gateway.command import parse
        from repodojo.gateway.harness import Harness
        from repodojo.gateway.launch import launching
        from repodojo.gateway.registry import Bounds, Gateway
        from repodojo.gateway.server import serving
        from repodojo.gateway.session import Terms

        s = self.settings
        bounds = Bounds(sessions=2 * s.concurrency + 16)
        gateway = Gateway(self.sampler.model, self.chat, Terms(s.agent.max_context, training=True), bounds=bounds)
        url = await others.enter_async_context(serving(gateway))
        launcher = await others.enter_async_context(launching(parse(s.command), s.preload))
        return Harness(gateway, url, launcher, s.box.seconds)

    def _receive(self, put: Callable[[tuple[Any, ...]], None]) -> None:
        try:
            while self.connection.poll():
                put(self.connection.recv())
        except (EOFError, OSError):
            if self.weights is not None:  # the parent was killed, so nobody else removes what it published
                shutil.rmtree(self.weights.parent, ignore_errors=True)
            put(("stop",))

    def _obey(self, message: tuple[Any, ...]) -> None:
        if message[0] == "play":
            for order, ticket in message[1]:
                task = asyncio.create_task(self._play(order, ticket))
                self.running[ticket] = task
                task.add_done_callback(partial(self._finished, ticket))
        elif message[0] == "cancel":
            for ticket in message[1]:
                if ticket in self.running:  # else it is over, and was told of
                    self.running[ticket].cancel()
        elif message[0] == "publish":
            self.weights = Path(message[2])
            self.sampler.take(message[1], self.weights)
            self.outbox.put(("published", message[1], self.counts()))
        elif message[0] == "threads":
            self.sampler.compute_with(message[1])

    def counts(self) -> dict[str, float]:
        """What its engine and its boxes did so far (see `Sampler.counts`)."""
        found = {f"boxes_{name}": float(self.boxes.counts[name]) for name in ("taken", "ready", "made_ahead")}
        return {**self.sampler.counts(), **found, "boxes_waited": self.boxes.waited}

    def _finished(self, ticket: Ticket, task: asyncio.Task[None]) -> None:
        """What is no outage is a fault of ours: tell, so that the run stops instead of learning from it."""
        del self.running[ticket]
        if task.cancelled():
            self.outbox.put(("gone", ticket))
        elif (error := task.exception()) is not None:
            text = error if isinstance(error, RepodojoError) else "".join(traceback.format_exception(error))
            self.outbox.put(("failed", text))

    async def _play(self, order: Order, ticket: Ticket) -> None:
        slot = Slot(self.free, lambda: self.outbox.put(("started", ticket, time.monotonic())))
        task = self.tasks[order.task_id]
        with contextlib.nullcontext() if is_edit(task) else self.boxes.expected(task.environment):  # for its grading
            trajectory = await run_order(order, task, self._policy(order), self.stage, slot)
        self.outbox.put(("done", ticket, trajectory))

    def _policy(self, order: Order) -> Policy:
        key = (order.policy, order.temperature)
        if key not in self.policies:
            if order.policy == MODEL:
                self.policies[key] = ModelPolicy(MODEL, self.sampler.model, self.chat, temperature=order.temperature)
            elif order.policy == editing.UNCHANGED:
                self.policies[key] = editing.unchanged(self.chat)
            else:
                tries = self.settings.agent.max_turns - 1
                self.policies[key] = scripted(order.policy, self.chat, tries=tries)
        return self.policies[key]

    async def _end(self, others: contextlib.AsyncExitStack) -> None:
        running = list(self.running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await others.aclose()
        await self.sampler.aclose()
        await self.stage.boxes.close()
