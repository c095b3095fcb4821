"""What an agent is given besides its limits: which tools, what they may print, which knowledge of the project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from repodojo.agent.graph.boxes import BoxGraphs
from repodojo.agent.mcp.settings import McpServer
from repodojo.agent.memory import Memory
from repodojo.agent.tools import Bash, Editor, Search, Submit, Tool, Toolset
from repodojo.agent.tools.graph import graph_tools
from repodojo.agent.tools.remember import Remember
from repodojo.agent.tools.rest import Rest
from repodojo.agent.tools.wiki import Wiki

Source = Literal["graph", "memory", "wiki"]


@dataclass(frozen=True)
class Kit:
    """Serialisable, so that it travels to workers. By itself it is the plain agent: bash, search, editor, submit.

    `sources` are the kinds of knowledge (see docs/context.md); `observation_chars` bounds what one result prints, and
    `tool_chars` says otherwise for single tools. `memory` is the file of the notes, which only training writes;
    `mcp` are the servers whose tools it has too. With `keep_rest` it can read what was left out of long outputs, with
    `confidence` submit takes the probability that the work is right.
    """

    sources: tuple[Source, ...] = ()
    observation_chars: int = 4000
    tool_chars: Mapping[str, int] = field(default_factory=dict)
    memory: str = ""
    memory_writes: bool = False
    mcp: tuple[McpServer, ...] = ()
    keep_rest: bool = False
    confidence: bool = False


def tool_names(sources: Sequence[Source], keep_rest: bool) -> set[str]:
    """The names of a kit's own tools."""
    graph = {tool.name for tool in graph_tools(BoxGraphs())} if "graph" in sources else set()
    optional = {"wiki": Wiki.name, "memory": Remember.name}
    own = {Bash.name, Search.name, Editor.name, Submit.name, *(optional[s] for s in sources if s in optional)}
    return own | graph | ({Rest.name} if keep_rest else set())


def toolset(kit: Kit) -> Toolset:
    """The tools of a kit; one set serves all episodes of a worker, and what they share (graphs of repositories)."""
    tools: list[Tool] = [Bash(), Search(), Editor()]
    graphs = BoxGraphs()
    if "graph" in kit.sources:
        tools += graph_tools(graphs)
    if "wiki" in kit.sources:
        tools.append(Wiki(graphs))
    if kit.keep_rest:
        tools.append(Rest())
    memory = Memory(Path(kit.memory), writes=kit.memory_writes) if "memory" in kit.sources else None
    if memory is not None:
        tools.append(Remember(memory))
    return Toolset(
        (*tools, Submit(confidence=kit.confidence)),
        kit.observation_chars,
        tool_chars=kit.tool_chars,
        memory=memory,
        servers=kit.mcp,
    )
