"""What was worked out once, for whoever asks again, and for whoever asks while it is being worked out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from repodojo.core.recent import Recent

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """The last `size` values by key; `hits` counts those that were not worked out again. size=0 remembers nothing.

    Episodes of a group begin alike, so they ask for the same test runs and verdicts at the same moment.

    >>> async def answer() -> int:
    ...     return 42
    >>> known = Remembered()
    >>> [asyncio.run(known.of("question", answer)) for _ in range(3)], known.hits
    ([42, 42, 42], 2)
    """

    def __init__(self, size: int = 100_000) -> None:
        self.hits = 0
        self._kept: Recent[K, V] = Recent(size)
        self._running: dict[K, asyncio.Future[None]] = {}

    async def of(self, key: K, make: Callable[[], Awaitable[V]], keep: Callable[[V], bool] = lambda value: True) -> V:
        """The value, by `make` where it is not known; what `keep` refuses is given back, and not remembered.

        Who waits for another's `make` that is cancelled, raises or gives what is not kept makes its own.
        """
        running = self._running.get(key)
        if running is not None and key not in self._kept:
            await asyncio.shield(running)
        if key in self._kept:
            self.hits += 1
            return self._kept[key]
        if running is not None:
            return self._keep(key, await make(), keep)
        done = self._running[key] = asyncio.get_running_loop().create_future()
        try:
            return self._keep(key, await make(), keep)
        finally:
            del self._running[key]
            done.set_result(None)

    def get(self, key: K) -> V | None:
        """The value if it has been worked out."""
        return self._kept.get(key)

    def _keep(self, key: K, value: V, keep: Callable[[V], bool]) -> V:
        if keep(value):
            self._kept[key] = value
        return value
