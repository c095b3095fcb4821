"""What every request passes before the gateway looks at it: how many at once, how long a body, how slow a client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from repodojo.gateway.asks import GatewayError
from repodojo.gateway.registry import Bounds

Messages = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Messages]]
Send = Callable[[Messages], Awaitable[None]]
App = Callable[[Messages, Receive, Send], Awaitable[None]]
Refuse = Callable[[str, GatewayError], Any]


class Admission:
    """ASGI middleware around the whole of a request, its streamed answer included."""

    def __init__(self, app: App, bounds: Bounds, refuse: Refuse) -> None:
        self.app, self.bounds, self.refuse = app, bounds, refuse
        self.in_flight = 0

    async def __call__(self, scope: Messages, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self.in_flight >= self.bounds.requests:
            error = GatewayError("overloaded", f"{self.bounds.requests} requests are in flight already")
            await self.refuse(scope["path"], error)(scope, receive, send)
            return
        self.in_flight += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.in_flight -= 1


async def read_body(headers: Any, stream: Any, bounds: Bounds) -> bytes:
    """The whole body; GatewayError where it is longer, or comes slower, than `bounds` allow."""
    most = bounds.body_mb << 20
    declared = headers.get("content-length", "0")
    too_large = GatewayError("too_large", f"the body exceeds {bounds.body_mb} MiB")
    if not declared.isdigit() or int(declared) > most:
        raise too_large
    parts: list[bytes] = []
    size = 0
    chunks = aiter(stream)
    while True:
        try:
            async with asyncio.timeout(bounds.body_seconds):
                part = await anext(chunks)
        except StopAsyncIteration:
            return b"".join(parts)
        except TimeoutError:
            cause = f"no more of the body came within {bounds.body_seconds:g} s"
            raise GatewayError("invalid", cause) from None
        size += len(part)
        if size > most:
            raise too_large
        parts.append(part)
