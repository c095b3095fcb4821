"""A set of tools: their schemas for the prompt, the check of a call, and its execution."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from repodojo.agent.tools.base import Arguments, MissingArguments, Tool, ToolContext, schema
from repodojo.core.errors import ToolFormatError
from repodojo.core.records import ToolResult
from repodojo.inference.toolcalls import RawCall

_KINDS = {"missing": "missing", "extra_forbidden": "unknown-argument"}


class Toolset:
    """Tools by name. `observation_chars` bounds what one result may print; head and tail are kept."""

    def __init__(self, tools: Sequence[Tool], observation_chars: int = 4000) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.observation_chars = observation_chars

    def schemas(self) -> list[dict[str, Any]]:
        """What the chat template puts into the prompt."""
        return [schema(tool) for tool in self.tools.values()]

    def check(self, call: RawCall) -> tuple[Tool, Arguments]:
        """The tool and its validated arguments; ToolFormatError says what is wrong, for the model to read."""
        tool = self.tools.get(call.name)
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

    async def run(self, tool: Tool, arguments: Arguments, context: ToolContext) -> ToolResult:
        """Execute, time, and cut the output."""
        start = time.perf_counter()
        result = await tool.run(arguments, context)
        output = result.output.encode("utf-8", "replace").decode()  # file names may hold what no tokenizer takes
        output = cut(output, self.observation_chars)
        return replace(result, output=output, seconds=time.perf_counter() - start)


def cut(text: str, limit: int) -> str:
    """Head and tail of a long text, saying how much is left out.

    >>> cut("0123456789", 6)
    '0123\\n[4 characters left out]\\n89'
    """
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    return f"{text[:head]}\n[{len(text) - limit} characters left out]\n{text[len(text) - tail :]}"
