"""The load on a gateway, as a program of its own: `python _gateway_load.py PORT SESSIONS RATE SECONDS`.

Open loop: requests are due at fixed times, whatever became of those before, and a request's time counts from when it
was due. Every session has a connection of its own and is a conversation that grows by a turn a request. Prints one JSON
object: seconds of each request, of the burst in which all sessions ask at once, and how late the client itself was.
Needs nothing but the standard library, so that it starts at once and weighs little.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import Any


class Talk:
    """A session with a connection."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.name, self.reader, self.writer = name, reader, writer
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": f"I am {name}."}]
        self.lock = asyncio.Lock()

    @classmethod
    async def open(cls, port: int, name: str) -> Talk:
        return cls(name, *await asyncio.open_connection("127.0.0.1", port))

    async def timed(self, due: float, spent: list[float], late: list[float]) -> None:
        """One request, from when it was due."""
        async with self.lock:
            body = json.dumps({"model": "m", "messages": self.messages}).encode()
            head = f"POST /s/{self.name}/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n"
            late.append(time.perf_counter() - due)
            self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await self._answer()
        spent.append(time.perf_counter() - due)
        self.messages += [json.loads(answer)["choices"][0]["message"], {"role": "user", "content": "Go on."}]

    async def _answer(self) -> bytes:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        if not head.startswith("http/1.1 200"):
            raise SystemExit(f"the gateway answered {head.splitlines()[0]}")
        return await self.reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))


async def load(port: int, sessions: int, rate: int, seconds: int) -> dict[str, Any]:
    """Open every session by one request, then the steady rate."""
    talks = [await Talk.open(port, f"s{n}") for n in range(sessions)]
    burst: list[float] = []
    began = time.perf_counter()
    await asyncio.gather(*(talk.timed(began, burst, []) for talk in talks))
    burst_seconds = time.perf_counter() - began
    await asyncio.sleep(0.5)
    gc.collect()
    gc.freeze()
    spent: list[float] = []
    late: list[float] = []
    start, asked = time.perf_counter() + 0.1, []
    for number in range(rate * seconds):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asked.append(asyncio.create_task(talks[number % sessions].timed(due, spent, late)))
    await asyncio.gather(*asked)
    for talk in talks:
        talk.writer.close()
    return {"spent": spent, "late": late, "burst_seconds": burst_seconds}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(load(*map(int, sys.argv[1:5])))))
