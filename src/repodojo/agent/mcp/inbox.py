"""A server inside the agent's box, over the box's `exec`: each request starts it, replays the handshake and asks.

A box runs one command at a time and leaves nothing of it alive, so a server cannot wait there between calls. What it
asks of the client meanwhile (sampling, roots) has no answer there.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from repodojo.core.protocols import Sandbox

DRIVER = """
import json, subprocess, sys
lines = sys.stdin.read().splitlines()
with subprocess.Popen(sys.argv[1:], stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True) as server:
    try:
        for line in lines:
            print(line, file=server.stdin, flush=True)
            asked = json.loads(line)
            if "id" not in asked:
                continue
            for answer in server.stdout:
                said = json.loads(answer)
                if said.get("id") == asked["id"] and "method" not in said:
                    break
            else:
                sys.exit("the server ended without an answer")
        print(answer)
    except (OSError, ValueError) as error:
        sys.exit(f"the server cannot be talked to: {error}")
    finally:
        server.kill()
"""


@asynccontextmanager
async def box_transport(
    box: Sandbox, command: Sequence[str], environment: Mapping[str, str], seconds: float
) -> AsyncIterator[Any]:
    """The pair of streams that the SDK's client wants."""
    import anyio

    send, read = anyio.create_memory_object_stream[Any](8)
    write, receive = anyio.create_memory_object_stream[Any](8)
    asker = _Asker(box, command, environment, seconds)

    async def serve() -> None:
        async with receive, send:
            async for message in receive:
                answer = await asker.ask(message.message)
                if answer is not None:
                    await send.send(answer)

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        try:
            yield read, write
        finally:
            group.cancel_scope.cancel()
            read.close()
            write.close()


class _Asker:
    def __init__(self, box: Sandbox, command: Sequence[str], environment: Mapping[str, str], seconds: float) -> None:
        self._box, self._command, self._environment, self._seconds = box, tuple(command), environment, seconds
        self._handshake: list[str] = []

    async def ask(self, message: Any) -> Any:
        """The server's answer to a request as a SessionMessage; None for a notification."""
        from mcp.shared.message import SessionMessage
        from mcp.types import CONNECTION_CLOSED, ErrorData, JSONRPCError, JSONRPCRequest, jsonrpc_message_adapter

        line = message.model_dump_json(by_alias=True, exclude_unset=True)
        method = json.loads(line).get("method", "")
        if not isinstance(message, JSONRPCRequest):
            if method == "notifications/initialized":
                self._handshake.append(line)
            return None
        text, failure = await self._run([*self._handshake, line])
        if method == "initialize":
            self._handshake = [line]
        if failure:
            error = JSONRPCError(jsonrpc="2.0", id=message.id, error=ErrorData(code=CONNECTION_CLOSED, message=failure))
            return SessionMessage(error)
        try:
            return SessionMessage(jsonrpc_message_adapter.validate_json(text, by_name=False))
        except ValueError as error:
            return error

    async def _run(self, lines: Sequence[str]) -> tuple[str, str]:
        """The answer's line, or what went wrong instead."""
        argv = ("python", "-c", DRIVER, *self._command)
        stdin = "".join(f"{line}\n" for line in lines).encode()
        result = await self._box.exec(argv, env=self._environment, stdin=stdin, seconds=self._seconds)
        said = result.output.decode("utf-8", "replace").strip()
        if result.ended != "exit":
            return "", f"the server was stopped: {result.ended}"
        return ("", said[-300:] or f"exit code {result.exit_code}") if result.exit_code else (said.splitlines()[-1], "")
