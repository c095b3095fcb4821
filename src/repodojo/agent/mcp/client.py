"""Servers started for one sandbox, and their tools as the agent's own: checked, bounded in time, errors named."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from repodojo.agent.mcp.inbox import box_transport
from repodojo.agent.mcp.settings import McpServer
from repodojo.agent.tools.base import ToolContext
from repodojo.agent.tools.toolset import Toolset
from repodojo.core.errors import ConfigError, ToolFormatError, ToolServerError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import ToolResult

_KINDS = {"required": "missing", "additionalProperties": "unknown-argument"}


@asynccontextmanager
async def equipped(tools: Toolset, box: Sandbox) -> AsyncIterator[Toolset]:
    """The tools of an episode: the worker's, and those of servers that live as long as its box.

    ToolServerError, an outage, where a server does not start; ConfigError where a tool's name is taken or unknown.
    """
    if not tools.servers:
        yield tools
        return
    try:
        async with AsyncExitStack() as stack:
            found = [tool for server in tools.servers for tool in await _start(server, box, stack)]
            names = [tool.name for tool in (*tools.tools.values(), *found)]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ConfigError(f"two tools are called {twice[0]}", way_out="name that server otherwise in agent.mcp")
            yield tools.with_tools(found)
    except BaseExceptionGroup as group:  # the SDK's task groups wrap whatever passes through them, an outage too
        raise _innermost(group) from None


async def _start(server: McpServer, box: Sandbox, stack: AsyncExitStack) -> list[ForeignTool]:
    try:
        import mcp
    except ImportError:
        way_out = "pip install 'repodojo[mcp]'"
        raise ConfigError("agent.mcp needs the MCP SDK, which is not installed", way_out=way_out) from None
    target = await _target(server, box, stack)
    client = mcp.Client(target, mode="legacy", read_timeout_seconds=server.start_seconds)
    try:  # not wait_for: the client must be entered and left by one task
        async with asyncio.timeout(server.start_seconds):
            await stack.enter_async_context(client)
            listed = await _listed(client)
    except TimeoutError:
        raise ToolServerError(f"MCP server {server.name} was not ready in {server.start_seconds:g} s") from None
    except (OSError, RuntimeError, ValueError, mcp.MCPError, ExceptionGroup) as error:
        raise ToolServerError(f"MCP server {server.name} does not start: {_said(error)}") from None
    if unknown := sorted(set(server.tools) - {tool.name for tool in listed}):
        raise ConfigError(
            f"MCP server {server.name} has no tool {unknown[0]!r}",
            way_out=f"it has {', '.join(tool.name for tool in listed)}",
        )
    return [ForeignTool(server, client, tool) for tool in listed if not server.tools or tool.name in server.tools]


async def _target(server: McpServer, box: Sandbox, stack: AsyncExitStack) -> Any:
    """What the SDK's client connects to."""
    from mcp.client.stdio import StdioServerParameters, stdio_client

    if server.url:
        return server.url
    if server.where == "box":
        return box_transport(box, server.command, server.environment, max(server.seconds, server.start_seconds))
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="repodojo-mcp-"))
    quiet = stack.enter_context(await asyncio.to_thread(Path(os.devnull).open, "w", encoding="utf-8"))
    command, *arguments = server.command
    environment = dict(server.environment) or None
    return stdio_client(StdioServerParameters(command=command, args=arguments, env=environment, cwd=folder), quiet)


async def _listed(client: Any) -> list[Any]:
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if not cursor:
            return found


class ForeignTool:
    """A server's tool. `parameters` is its own JSON schema, by which calls are checked before they are made."""

    def __init__(self, server: McpServer, client: Any, listed: Any) -> None:
        from jsonschema.validators import validator_for

        self.name = f"{server.name}_{listed.name}"
        self.description = (listed.description or listed.title or listed.name).strip()
        self.parameters: Mapping[str, Any] = listed.input_schema
        self._server, self._client, self._own = server, client, listed.name
        self._schema = validator_for(self.parameters)(self.parameters)

    def check(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments; ToolFormatError where they break the schema."""
        error = next(iter(self._schema.iter_errors(dict(arguments))), None)
        if error is not None:
            raise ToolFormatError(_KINDS.get(str(error.validator), "bad-type"), str(error.message)[:300])
        return arguments

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """What it answers; `mcp-error` where it refuses, `mcp-timeout`, `mcp-lost` where the server is gone."""
        import anyio
        import mcp

        if self._server.where == "box":
            context.untracked = True
        try:
            async with asyncio.timeout(self._server.seconds):
                result = await self._client.call_tool(
                    self._own, dict(arguments), read_timeout_seconds=self._server.seconds
                )
        except TimeoutError:
            return ToolResult(f"no answer in {self._server.seconds:g} s", "mcp-timeout")
        except mcp.MCPError as error:
            kinds = {mcp.types.REQUEST_TIMEOUT: "mcp-timeout", mcp.types.CONNECTION_CLOSED: "mcp-lost"}
            return ToolResult(error.message[:1000], kinds.get(error.code, "mcp-error"))
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError) as error:
            return ToolResult(f"the server is gone: {type(error).__name__}", "mcp-lost")
        except (RuntimeError, ValueError) as error:  # the answer breaks the schema that the tool promised
            return ToolResult(str(error)[:1000], "mcp-bad-answer")
        return ToolResult(_text(result.content), "mcp-error" if result.is_error else "")


def _text(content: Sequence[Any]) -> str:
    """Text as it is; what is none (images, sound) by its kind."""
    parts = [part.text if part.type == "text" else f"[{part.type}]" for part in content]
    return "\n".join(parts) or "[no output]"


def _innermost(error: BaseException) -> BaseException:
    """What was raised first, without the groups around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _said(error: BaseException) -> str:
    inner = _innermost(error)
    return f"{type(inner).__name__}: {inner}"[:300]
