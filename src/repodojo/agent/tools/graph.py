"""`definition`, `references`, `outline`, `neighbours`: the code graph of what stands in the box, asked by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pydantic import Field

from repodojo.agent.graph import text
from repodojo.agent.graph.boxes import BoxGraphs
from repodojo.agent.graph.graph import Graph
from repodojo.agent.tools.base import Arguments, Tool, ToolContext, Word
from repodojo.core.records import ToolResult


class SymbolArguments(Arguments):
    """What the tools about a symbol take."""

    symbol: Word = Field(description="A name, Class.method, or path::name.", min_length=1)


class PathArguments(Arguments):
    """What `outline` takes."""

    path: Word = Field(default=".", description="A file or folder.")


class _GraphTool(ABC):
    name = ""
    description = ""
    arguments: type[Arguments] = SymbolArguments

    def __init__(self, graphs: BoxGraphs) -> None:
        self._graphs = graphs

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        graph = await self._graphs.of(context.task, context.sandbox)
        output = await self._answer(graph, arguments, context)
        return ToolResult(output) if output else ToolResult("nothing found", "not-found")

    @abstractmethod
    async def _answer(self, graph: Graph, arguments: Any, context: ToolContext) -> str: ...


class FindDefinition(_GraphTool):
    """Where a symbol is defined, with its code."""

    name = "definition"
    description = "Show where a symbol is defined, with its code."

    async def _answer(self, graph: Graph, arguments: SymbolArguments, context: ToolContext) -> str:
        return await text.definition(graph, context.sandbox.read, arguments.symbol)


class FindReferences(_GraphTool):
    """Lines that use a name, comments and strings left out."""

    name = "references"
    description = "List the lines that use a symbol."

    async def _answer(self, graph: Graph, arguments: SymbolArguments, context: ToolContext) -> str:
        return await text.references(graph, context.sandbox.read, arguments.symbol)


class Outline(_GraphTool):
    """What a file or folder defines."""

    name = "outline"
    description = "List what a file or folder defines."
    arguments = PathArguments

    async def _answer(self, graph: Graph, arguments: PathArguments, context: ToolContext) -> str:
        return text.outline(graph, arguments.path.removeprefix("./"))


class ShowNeighbours(_GraphTool):
    """One step along calls or imports."""

    name = "neighbours"
    description = "List callers and callees of a symbol, or importers and imports of a file."

    async def _answer(self, graph: Graph, arguments: SymbolArguments, context: ToolContext) -> str:
        return text.neighbours(graph, arguments.symbol.removeprefix("./"))


def graph_tools(graphs: BoxGraphs) -> tuple[Tool, ...]:
    """The four, over one set of graphs."""
    return FindDefinition(graphs), FindReferences(graphs), Outline(graphs), ShowNeighbours(graphs)
