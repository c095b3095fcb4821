"""A set of tools: their schemas for the prompt, the check of a call, and its execution."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from repodojo.agent.mcp.settings import McpServer
from repodojo.agent.memory import Memory, as_text
from repodojo.agent.tools.base import Kept, MissingArguments, OwnSchema, Tool, ToolContext, schema
from repodojo.agent.tools.rest import Rest
from repodojo.core.errors import ToolFormatError
from repodojo.core.records import ToolResult
from repodojo.inference.toolcalls import RawCall

MOST_KEPT = 32  # outputs of one episode that `rest` can read
MOST_KEPT_CHARS = 1 << 20
NOTE_CHARS = 60  # of a stretch's own note
_KINDS = {"missing": "missing", "extra_forbidden": "unknown-argument"}


class Toolset:
    """Tools by name. `observation_chars` bounds what one result may print; head and tail are kept.

    `tool_chars` says otherwise for single tools. `memory` is what the opening shows notes from,
    `servers` are started for each sandbox (see `agent.mcp.client.equipped`).
    """

    def __init__(
        self,
        tools: Sequence[Tool | OwnSchema],
        observation_chars: int = 4000,
        *,
        tool_chars: Mapping[str, int] | None = None,
        memory: Memory | None = None,
        servers: Sequence[McpServer] = (),
    ) -> None:
        self.tools = {tool.name: tool for tool in tools}
        # told apart once: isinstance with a protocol takes longer than the check of a call
        self._own = {tool.name: tool for tool in tools if isinstance(tool, OwnSchema)}
        self._plain = {tool.name: tool for tool in tools if not isinstance(tool, OwnSchema)}
        self.observation_chars = observation_chars
        self.tool_chars = dict(tool_chars or {})
        self.servers = tuple(servers)
        self._memory = memory

    def schemas(self) -> list[dict[str, Any]]:
        """What the chat template puts into the prompt."""
        return self._schemas

    @functools.cached_property
    def _schemas(self) -> list[dict[str, Any]]:
        return [schema(tool) for tool in self.tools.values()]

    def with_tools(self, more: Sequence[OwnSchema]) -> Toolset:
        """The same set with more tools, before the one that ends the episode."""
        *first, last = self.tools.values()
        tools = (*first, *more, last)
        return Toolset(tools, self.observation_chars, tool_chars=self.tool_chars, memory=self._memory)

    def notes(self, context: ToolContext) -> str:
        """What the opening says that others noted ("" without memory)."""
        return as_text(self._memory.shown(context.task, context.group)) if self._memory else ""

    def check(self, call: RawCall) -> tuple[Tool | OwnSchema, Any]:
        """The tool and its validated arguments; ToolFormatError says what is wrong, for the model to read."""
        own = self._own.get(call.name)
        if own is not None:
            return own, own.check(call.arguments)
        tool = self._plain.get(call.name)
        if tool is None:
            raise ToolFormatError("unknown-tool", f"no tool '{call.name}', use {', '.join(self.tools)}")
        try:
            return tool, tool.arguments.model_validate(dict(call.arguments))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            kind = _KINDS.get(first["type"], "bad-type")
            if isinstance(first.get("ctx", {}).get("error"), MissingArguments):
                kind = "missing"
            raise ToolFormatError(kind, f"{where}: {first['msg']}".lstrip(": ")) from None

    async def run(self, tool: Tool | OwnSchema, arguments: Any, context: ToolContext) -> ToolResult:
        """Execute, time, and cut the output."""
        return self.shown(tool, await self.execute(tool, arguments, context), context)

    async def execute(self, tool: Tool | OwnSchema, arguments: Any, context: ToolContext) -> ToolResult:
        """Execute and time; `shown` must follow, in the order of the calls, since it numbers what is kept."""
        start = time.perf_counter()
        result = await tool.run(arguments, context)
        return replace(result, seconds=time.perf_counter() - start)

    def shown(self, tool: Tool | OwnSchema, result: ToolResult, context: ToolContext) -> ToolResult:
        """The result with its output cut to the tool's bound."""
        output = result.output.encode("utf-8", "replace").decode()  # file names may hold what no tokenizer takes
        limit = self.tool_chars.get(tool.name, self.observation_chars)
        return replace(result, output=self._cut(output, limit, tool.name, context))

    def _cut(self, output: str, limit: int, name: str, context: ToolContext) -> str:
        """Cut to the limit, and kept where `rest` can read it (whose own stretches end by themselves)."""
        if name == Rest.name:
            return output
        if Rest.name not in self.tools or len(output) <= limit:
            return cut(output, limit)
        number = max(context.kept, default=0) + 1
        context.kept[number] = Kept(output[:MOST_KEPT_CHARS], limit * 2 // 3, max(limit - NOTE_CHARS, 1))
        if number > MOST_KEPT:
            context.kept.pop(number - MOST_KEPT, None)
        return cut(output, limit, f"; rest with output {number} shows them")


def cut(text: str, limit: int, note: str = "") -> str:
    """Head and tail of a long text, saying how much is left out, and `note` besides.

    >>> cut("0123456789", 6)
    '0123\\n[4 characters left out]\\n89'
    """
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    return f"{text[:head]}\n[{len(text) - limit} characters left out{note}]\n{text[len(text) - tail :]}"
