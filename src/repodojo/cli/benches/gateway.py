"""What the gateway adds to a call: many sessions on a model that answers at once, and a steady rate of requests.

`ratio` is 20 ms over the 99th percentile of the time between asking and the whole answer, of which the fake model takes
next to nothing; the client runs in the same process and on the same cores, so its time is in the figure too. On a busy
machine only `cpu_seconds_each` (of client and gateway together) says something.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any

BOUND = 0.020  # seconds: what the 99th percentile is held against


def run(quick: bool) -> dict[str, Any]:
    """Full: 1,000 sessions open at once, 100 requests a second for 20 s. Quick: 50 sessions, 20 a second for 2 s."""
    sessions, rate, seconds = (50, 20, 2) if quick else (1000, 100, 20)
    return asyncio.run(_measure(sessions, rate, seconds))


async def _measure(sessions: int, rate: int, seconds: int) -> dict[str, Any]:
    from repodojo.gateway.registry import Bounds, Gateway
    from repodojo.gateway.server import serving
    from repodojo.gateway.session import Terms
    from repodojo.inference.chat import ChatFormat
    from repodojo.inference.fake import FakeModel
    from repodojo.train.setup import base_path

    chat = ChatFormat.load(base_path())
    words = [*chat.encode("A short answer."), chat.stop_ids[0]]
    gateway = Gateway(FakeModel(lambda call: words), chat, Terms(1 << 17), key="k", bounds=Bounds(sessions=sessions))
    async with serving(gateway) as url:
        port = int(url.rpartition(":")[2])
        talks = [await _Talk.open(port, f"s{n}") for n in range(sessions)]
        began = time.perf_counter()
        await asyncio.gather(*(talk.ask() for talk in talks))
        burst = time.perf_counter() - began
        waits: list[float] = []
        start, busy = time.perf_counter(), time.process_time()
        asked = []
        for number in range(rate * seconds):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            asked.append(asyncio.create_task(talks[number % sessions].timed(start + number / rate, waits)))
        await asyncio.gather(*asked)
        busy = time.process_time() - busy
        for talk in talks:
            talk.writer.close()
    waits.sort()
    p99 = waits[int(len(waits) * 0.99)]
    return {
        "ratio": BOUND / p99,
        "p50_seconds": statistics.median(waits),
        "p99_seconds": p99,
        "cpu_seconds_each": busy / len(waits),
        "requests": len(waits),
        "rate": rate,
        "sessions": sessions,
        "all_sessions_at_once_seconds": burst,
        "turns_recorded": sum(len(s.tree.nodes) for s in gateway.sessions.values()),
    }


class _Talk:
    """A session with a connection of its own: a conversation that grows by a turn a request."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.name, self.reader, self.writer = name, reader, writer
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": f"I am {name}."}]
        self.lock = asyncio.Lock()

    @classmethod
    async def open(cls, port: int, name: str) -> _Talk:
        return cls(name, *await asyncio.open_connection("127.0.0.1", port))

    async def timed(self, due: float, waits: list[float]) -> None:
        """One request; its time counts from when it was due, so that a late start is no excuse."""
        await self.ask()
        waits.append(time.perf_counter() - due)

    async def ask(self) -> None:
        async with self.lock:
            body = json.dumps({"model": "m", "messages": self.messages}).encode()
            head = f"POST /s/{self.name}/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n"
            self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await self._answer()
            self.messages += [answer["choices"][0]["message"], {"role": "user", "content": "Go on."}]

    async def _answer(self) -> dict[str, Any]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        found: dict[str, Any] = json.loads(await self.reader.readexactly(length))
        return found
