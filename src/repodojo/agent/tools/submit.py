"""`submit`: the agent says that it is done."""

from __future__ import annotations

from repodojo.agent.tools.base import Arguments, ToolContext
from repodojo.core.records import ToolResult


class SubmitArguments(Arguments):
    """`submit` takes nothing."""


class Submit:
    """Ends the episode; what stands in the box is graded."""

    name = "submit"
    description = "Finish: hand in the repository as it is now."
    arguments = SubmitArguments

    async def run(self, arguments: SubmitArguments, context: ToolContext) -> ToolResult:
        context.submitted = True
        return ToolResult("submitted")
