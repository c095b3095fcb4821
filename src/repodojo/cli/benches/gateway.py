"""What the gateway adds to a call: many sessions on a model that answers at once, and a steady rate of requests.

`ratio` is 20 ms over the 99th percentile of the time from when a request was due to its whole answer, of which the fake
model takes next to nothing. The client is a process of its own (`_gateway_load`), an open loop; what it needs is in the
figure. `floor_...` is the same load on a server that answers every request with the same bytes and does nothing else:
what client, sockets and machine take by themselves. `cpu_seconds_each` is the gateway process's own.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repodojo.cli.benches import _gateway_load
from repodojo.core.errors import UserError

BOUND = 0.020  # seconds: what the 99th percentile is held against
WORDS = "A short answer."


def run(quick: bool) -> dict[str, Any]:
    """Full: 1,000 sessions open at once, 100 requests a second for 30 s. Quick: 50 sessions, 20 a second for 2 s."""
    sessions, rate, seconds = (50, 20, 2) if quick else (1000, 100, 30)
    return asyncio.run(_measure(sessions, rate, seconds))


async def _measure(sessions: int, rate: int, seconds: int) -> dict[str, Any]:
    from repodojo.gateway.registry import Bounds, Gateway
    from repodojo.gateway.server import serving
    from repodojo.gateway.session import Terms
    from repodojo.inference.chat import ChatFormat
    from repodojo.inference.fake import FakeModel
    from repodojo.train.setup import base_path

    asked = (sessions, rate, seconds)
    floor = await _floor(asked)
    chat = ChatFormat.load(base_path())
    words = [*chat.encode(WORDS), chat.stop_ids[0]]
    gateway = Gateway(FakeModel(lambda call: words), chat, Terms(1 << 17), key="k", bounds=Bounds(sessions=sessions))
    async with serving(gateway) as url:
        busy = time.process_time()
        found = await _load(int(url.rpartition(":")[2]), asked)
        busy = time.process_time() - busy
    spent = sorted(found["spent"])
    return {
        "ratio": BOUND / _at(spent, 0.99),
        **_named("", spent),
        **_named("floor_", sorted(floor["spent"])),
        "client_late_p99_seconds": _at(sorted(found["late"]), 0.99),
        "cpu_seconds_each": busy / (len(spent) + sessions),
        "requests": len(spent),
        "rate": rate,
        "sessions": sessions,
        "all_sessions_at_once_seconds": found["burst_seconds"],
        "turns_recorded": sum(len(s.tree.nodes) for s in gateway.sessions.values()),
    }


async def _load(port: int, asked: Sequence[int]) -> dict[str, Any]:
    """Run the client against a server in this process."""
    words = [sys.executable, "-I", str(Path(_gateway_load.__file__)), str(port), *map(str, asked)]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode:
        raise UserError("the client of the benchmark failed", way_out="see what it printed above")
    found: dict[str, Any] = json.loads(out)
    return found


async def _floor(asked: Sequence[int]) -> dict[str, Any]:
    """The same load on a server that parses nothing."""
    message = {"role": "assistant", "content": WORDS}
    body = json.dumps({"choices": [{"message": message}]}).encode()
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
                writer.write(answer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    async with server:
        return await _load(server.sockets[0].getsockname()[1], asked)


def _named(prefix: str, spent: Sequence[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    found = {f"{prefix}{name}_seconds": _at(spent, share) for name, share in shares.items()}
    return {**found, f"{prefix}mean_seconds": statistics.fmean(spent)}


def _at(spent: Sequence[float], share: float) -> float:
    """A percentile of sorted values."""
    return spent[min(int(len(spent) * share), len(spent) - 1)]
