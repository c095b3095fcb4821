"""Boxes prepared ahead: while an agent samples its first turns, the box that it will run its tests in is made."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict

from repodojo.core.errors import RepodojoError, SandboxError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import Environment
from repodojo.sandbox.environments import BoxSpec
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.lazy import LazySandbox


class PreparedBoxes:
    """A `SandboxFactory` with a stock of unused boxes, keyed by environment.

    A box is wanted by each lazy box that has not needed its real one yet, and by each episode in progress (`expected`)
    for its grading. Up to `size` boxes are made ahead for whoever wants them, those asked for first; what nobody wants
    any more gives way. A box serves once: nothing of one user is left for the next. With `size` 0 none is made ahead.

    counts: `taken`; `ready`, those of them that were there; `waited`, seconds that takers waited in all; `made_ahead`,
    `unused` and `dead` (prepared, and gone when they were wanted), `failed` (could not be prepared)
    """

    def __init__(self, factory: LocalFactory, size: int) -> None:
        self.factory, self.size = factory, size
        self.counts: Counter[str] = Counter()
        self.waited = 0.0
        self._wanted: Counter[str] = Counter()
        self._specs: dict[str, BoxSpec] = {}
        self._ready: dict[str, deque[Sandbox]] = {}
        self._making: dict[asyncio.Task[None], str] = {}
        self._closing: set[asyncio.Future[None]] = set()
        self._closed = False

    async def create(self, environment: Environment) -> Sandbox:
        """A lazy box; the real one behind it is announced now, and taken from the stock if it is there by then."""
        spec, key = self.factory.spec(environment), self._key(environment)
        self._want(key, spec)
        return _Announced(spec, self, key)

    @contextlib.contextmanager
    def expected(self, environment: Environment) -> Iterator[None]:
        """Within, one more box of this environment is likely to be needed."""
        key = self._key(environment)
        self._want(key, self.factory.spec(environment))
        try:
            yield
        finally:
            self.unwanted(key)

    async def close(self) -> None:
        """Close what is in stock, and the factory."""
        self._closed = True
        for task in list(self._making):
            task.cancel()
        await asyncio.gather(*self._making, *self._closing, return_exceptions=True)
        for box in [box for boxes in self._ready.values() for box in boxes]:
            await box.close()
        self._ready.clear()
        await self.factory.close()

    # ------------------------------------------------------------ inside

    def _key(self, environment: Environment) -> str:
        """Equal for environments that make equal boxes; where there is no stock, nobody asks."""
        return json.dumps(asdict(environment), sort_keys=True, default=str) if self.size else ""

    def unwanted(self, key: str) -> None:
        """One box fewer is wanted."""
        if self.size:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key], self._specs[key]

    async def take(self, key: str, spec: BoxSpec) -> Sandbox:
        """A real box: of the stock, or made now."""
        began = time.monotonic()
        self.counts["taken"] += 1
        self.unwanted(key)
        box = await self._living(key)
        if box is None:
            box = await self.factory.real(spec)
        else:
            self.counts["ready"] += 1
        self.waited += time.monotonic() - began
        self._stock_up()
        return box

    def _want(self, key: str, spec: BoxSpec) -> None:
        if self.size:
            self._wanted[key] += 1
            self._specs[key] = spec
            self._stock_up()

    async def _living(self, key: str) -> Sandbox | None:
        """One of the stock that still answers."""
        boxes = self._ready.get(key)
        while boxes:
            box = boxes.popleft()
            try:
                await box.listdir(".")
            except (SandboxError, asyncio.CancelledError) as error:
                await box.close()
                if isinstance(error, asyncio.CancelledError):
                    raise
                self.counts["dead"] += 1
            else:
                return box
        return None

    def _stock_up(self) -> None:
        """Begin to make what is wanted and not there; where there is no room, what nobody wants is closed for it."""
        making = Counter(self._making.values())
        held = sum(map(len, self._ready.values())) + len(self._making)
        for key, wanted in self._wanted.items():
            for _ in range(wanted - len(self._ready.get(key, ())) - making[key]):
                if self._closed or (held >= self.size and not self._give_up_one()):
                    return
                held = min(held + 1, self.size)
                task = asyncio.create_task(self._make(key, self._specs[key]))
                self._making[task] = key
                task.add_done_callback(self._making.pop)

    def _give_up_one(self) -> bool:
        for key, boxes in self._ready.items():
            if len(boxes) > self._wanted.get(key, 0):
                self.counts["unused"] += 1
                task = asyncio.ensure_future(boxes.pop().close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
                return True
        return False

    async def _make(self, key: str, spec: BoxSpec) -> None:
        try:
            box = await self.factory.real(spec)
        except RepodojoError:  # whoever needs one will meet the same error, where it can be dealt with
            self.counts["failed"] += 1
            return
        self.counts["made_ahead"] += 1
        self._ready.setdefault(key, deque()).append(box)


class _Announced(LazySandbox):
    """A lazy box whose real one was announced; where none was needed, that is taken back."""

    def __init__(self, spec: BoxSpec, boxes: PreparedBoxes, key: str) -> None:
        super().__init__(spec, self._take)
        self._boxes, self._key, self._announced = boxes, key, True

    async def _take(self, spec: BoxSpec) -> Sandbox:
        self._announced = False
        return await self._boxes.take(self._key, spec)

    async def close(self) -> None:
        if self._announced:
            self._announced = False
            self._boxes.unwanted(self._key)
        await super().close()
