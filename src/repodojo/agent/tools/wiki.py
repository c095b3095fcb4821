"""`wiki`: pages about the repository as it stands in the box."""

from __future__ import annotations

from pydantic import Field

from repodojo.agent import wiki
from repodojo.agent.graph.boxes import BoxGraphs
from repodojo.agent.tools.base import Arguments, ToolContext, Word
from repodojo.core.records import ToolResult

BUILD_FILES = (
    *("Makefile", "pyproject.toml", "pytest.ini", "setup.cfg", "tox.ini", "package.json", "go.mod", "Cargo.toml"),
    *("pom.xml", "build.gradle", "CMakeLists.txt"),
)


class WikiArguments(Arguments):
    """What `wiki` takes."""

    page: Word = Field(default="index", description="index, conventions, testing, or modules/FOLDER.")


class Wiki:
    """One page; they are worked out of the code graph, so they tell of what is there and of no task."""

    name = "wiki"
    description = "Read a page about this repository."
    arguments = WikiArguments

    def __init__(self, graphs: BoxGraphs) -> None:
        self._graphs = graphs

    async def run(self, arguments: WikiArguments, context: ToolContext) -> ToolResult:
        graph = await self._graphs.of(context.task, context.sandbox)
        texts = {name: await _text(context, name) for name in BUILD_FILES}
        found = wiki.pages(graph, texts.get)
        page = arguments.page.removesuffix(".md")
        if page not in found:
            return ToolResult(f"no such page; there are {', '.join(found)}", "not-found")
        return ToolResult(found[page].rstrip("\n"))


async def _text(context: ToolContext, path: str) -> str | None:
    try:
        return (await context.sandbox.read(path)).decode("utf-8", "replace")
    except OSError:
        return None
