"""`rest`: what was left out of an earlier output that was too long to show."""

from __future__ import annotations

from pydantic import Field

from repodojo.agent.tools.base import Arguments, ToolContext
from repodojo.core.records import ToolResult


class RestArguments(Arguments):
    """What `rest` takes."""

    output: int = Field(description="Number of the output, as the note on it says.", ge=1)
    start: int = Field(default=0, description="Character to begin at; 0: where the shown part broke off.", ge=0)


class Rest:
    """Reads on in a kept output, a stretch at a time."""

    name = "rest"
    description = "Read what was left out of a long output."
    arguments = RestArguments

    async def run(self, arguments: RestArguments, context: ToolContext) -> ToolResult:
        kept = context.kept.get(arguments.output)
        if kept is None:
            known = ", ".join(str(number) for number in context.kept) or "none"
            return ToolResult(f"no such output; kept are {known}", "not-found")
        start = arguments.start or kept.shown
        if start >= len(kept.text):
            return ToolResult(f"it has {len(kept.text)} characters", "bad-range")
        end = min(start + kept.limit, len(kept.text))
        more = f"\n[{len(kept.text) - end} more characters, start {end}]" if end < len(kept.text) else ""
        return ToolResult(kept.text[start:end] + more)
