"""The gateway on a socket: uvicorn inside an event loop that runs already, with time for slow clients bounded."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from repodojo.core.errors import UserError
from repodojo.gateway.app import Routes
from repodojo.gateway.registry import Gateway

_BACKLOG = 4096
_IDLE = 75  # seconds that an unused connection is kept: longer than clients keep theirs, who would find it closed
_GRACE = 2  # seconds for answers in flight when the server stops


class _Server(uvicorn.Server):
    """Signals are the affair of whoever runs the loop; `ready` is set once it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _protocol(head_seconds: float) -> type[H11Protocol]:
    class Patient(H11Protocol):
        """Closes a connection on which a request's head does not arrive in time; uvicorn would wait for ever."""

        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._await_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._reading_head():
                self._await_head()
            elif self._late:
                self._late.cancel()
                self._late = None

        def connection_lost(self, exc: Exception | None) -> None:
            if self._late:
                self._late.cancel()
            super().connection_lost(exc)

        def _reading_head(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _await_head(self) -> None:
            if self._late is None:
                self._late = asyncio.get_running_loop().call_later(head_seconds, self._close_late)

        def _close_late(self) -> None:
            self._late = None
            if self._reading_head() and not self.transport.is_closing():
                self.transport.close()

    return Patient


@contextlib.asynccontextmanager
async def serving(gateway: Gateway, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve until the block ends; yields the base URL (port 0 takes a free one). UserError where it cannot bind."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            raise UserError(f"cannot listen on {host}:{port}: {error.strerror}", way_out="choose --port") from None
        bound = listener.getsockname()[1]
        config = uvicorn.Config(
            Routes(gateway).app(),
            http=_protocol(gateway.bounds.head_seconds),
            ws="none",
            lifespan="off",
            log_config=None,  # the logging of whoever runs the loop stays as it is
            log_level="critical",
            access_log=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_IDLE,
            timeout_graceful_shutdown=_GRACE,
        )
        server = _Server(config)
        gc.collect()
        gc.freeze()  # torch and transformers leave a million objects, whose collection would hold every answer up
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            ready = asyncio.create_task(server.ready.wait())
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            if task.done():
                task.result()  # says why it does not serve
            name = f"[{host}]" if ":" in host else host
            yield f"http://{name}:{bound}"
        finally:
            server.should_exit = True
            await task
