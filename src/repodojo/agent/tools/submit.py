"""`submit`: the agent says that it is done, and may say how sure it is."""

from __future__ import annotations

from pydantic import Field

from repodojo.agent.tools.base import Arguments, ToolContext
from repodojo.core.records import ToolResult


class SubmitArguments(Arguments):
    """`submit` takes nothing."""


class StatedArguments(Arguments):
    """`submit` takes a probability, which may be left out. The name is what `Trajectory.stated` looks for."""

    probability: float | None = Field(
        None, description="The probability that this is right, 0 to 1.", ge=0, le=1, allow_inf_nan=False
    )


class Submit:
    """Ends the episode; what stands in the box is graded."""

    name = "submit"

    def __init__(self, *, confidence: bool = False) -> None:
        """`confidence`: whether it takes a stated probability."""
        self.description = "Finish: hand in the repository as it is now."
        self.arguments: type[Arguments] = StatedArguments if confidence else SubmitArguments
        if confidence:
            self.description += " Say how sure you are."

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        context.submitted = True
        return ToolResult("submitted")
