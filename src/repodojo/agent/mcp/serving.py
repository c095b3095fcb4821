"""The repository's tools as an MCP server: the code graph, search, the wiki, and its tests where a command is given."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from repodojo.agent import wiki
from repodojo.agent.graph import text
from repodojo.agent.graph.folder import FolderGraph
from repodojo.agent.graph.graph import CodeGraph
from repodojo.agent.tools.toolset import cut
from repodojo.core.errors import ConfigError

MOST_CHARS = 20_000
NOTHING = "nothing found"


class Repository:
    """Answers about a folder, each brought up to date first. Paths never lead out of the folder."""

    def __init__(self, root: Path, tests: str = "", seconds: float = 600.0) -> None:
        self.root, self._tests, self._seconds = root.resolve(), tests, seconds
        self._folder = FolderGraph(self.root)

    async def _graph(self) -> CodeGraph:
        await asyncio.to_thread(self._folder.refresh)
        return self._folder.graph

    async def _read(self, path: str) -> bytes:
        full = (self.root / path).resolve()
        if not full.is_relative_to(self.root):
            raise PermissionError(f"{path} is outside the repository")
        return await asyncio.to_thread(full.read_bytes)

    async def definition(self, symbol: str) -> str:
        """Show where a symbol (a name, Class.method, or path::name) is defined, with its code."""
        return await text.definition(await self._graph(), self._read, symbol) or NOTHING

    async def references(self, symbol: str) -> str:
        """List the lines that use a symbol, comments and strings left out."""
        return await text.references(await self._graph(), self._read, symbol) or NOTHING

    async def outline(self, path: str = ".") -> str:
        """List what a file or folder defines."""
        return text.outline(await self._graph(), path.removeprefix("./")) or NOTHING

    async def neighbours(self, symbol: str) -> str:
        """List callers and callees of a symbol, or importers and imports of a file."""
        return text.neighbours(await self._graph(), symbol.removeprefix("./")) or NOTHING

    async def search(self, query: str, path: str = ".") -> str:
        """Search files for an extended regular expression: path:line:text for each hit."""
        if not (self.root / path).resolve().is_relative_to(self.root):
            return f"{path} is outside the repository"
        argv = ("grep", "-rnIE", "--exclude-dir=.git", "-e", query, "--", path)
        _, output = await self._run(argv, 60.0)
        return cut(output, MOST_CHARS) or NOTHING

    async def wiki(self, page: str = "index") -> str:
        """Read a page about the repository: index, conventions, testing, or modules/FOLDER."""
        graph = await self._graph()
        pages = wiki.pages(graph, self._text)
        return pages.get(page.removesuffix(".md")) or f"no such page; there are {', '.join(pages)}"

    async def tests(self) -> str:
        """Run the repository's tests and give the end of what they print."""
        code, output = await self._run(("bash", "-c", self._tests), self._seconds)
        return f"{cut(output, MOST_CHARS)}\n[{'stopped: time limit' if code is None else f'exit code {code}'}]"

    def _text(self, name: str) -> str | None:
        try:
            return (self.root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    async def _run(self, argv: tuple[str, ...], seconds: float) -> tuple[int | None, str]:
        """Exit code (None: stopped by the time limit, with all it started) and output."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=self.root,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(seconds):
                output, _ = await process.communicate()
        except TimeoutError:
            return None, ""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, output.decode("utf-8", "replace").strip()

    def tools(self) -> list[Callable[..., Any]]:
        """What is offered."""
        found: list[Callable[..., Any]] = [self.definition, self.references, self.outline, self.neighbours, self.search]
        return [*found, self.wiki, *([self.tests] if self._tests else [])]


def server(repository: Repository) -> Any:
    """The SDK's server with these tools; ConfigError where the SDK is not installed."""
    try:
        from mcp.server.mcpserver import MCPServer
    except ImportError:
        raise ConfigError("the MCP SDK is not installed", way_out="pip install 'repodojo[mcp]'") from None
    made = MCPServer("repodojo", instructions=f"Tools for the repository {repository.root.name}.", log_level="WARNING")
    for tool in repository.tools():
        made.tool(structured_output=False)(tool)
    return made
