"""A real MCP server for tests: `python a_server.py [PORT]`."""

from __future__ import annotations

import asyncio
import os
import sys

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("a", log_level="ERROR")
kept: list[str] = []


@server.tool()
def add(a: int, b: int = 1) -> int:
    """Add numbers."""
    return a + b


@server.tool(structured_output=False)
def keep(word: str) -> str:
    """Remember a word."""
    kept.append(word)
    return " ".join(kept)


@server.tool(structured_output=False)
async def sleep(seconds: float) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return "woke"


@server.tool(structured_output=False)
def fail() -> str:
    """Never works."""
    raise ToolError("no luck")


@server.tool(structured_output=False)
def die() -> str:
    """Ends the server."""
    os._exit(3)


@server.tool(structured_output=False)
def where() -> str:
    """Its folder and a variable."""
    return f"{os.getcwd()} {os.environ.get('TOKEN', '')}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
