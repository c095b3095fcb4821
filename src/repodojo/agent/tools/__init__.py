"""The agent's tools: each a file with its schema and what it does."""

from repodojo.agent.tools.base import Arguments, Tool, ToolContext
from repodojo.agent.tools.bash import Bash
from repodojo.agent.tools.editor import Editor
from repodojo.agent.tools.search import Search
from repodojo.agent.tools.submit import Submit
from repodojo.agent.tools.toolset import Toolset

__all__ = ["Arguments", "Bash", "Editor", "Search", "Submit", "Tool", "ToolContext", "Toolset", "default_tools"]


def default_tools(observation_chars: int = 4000, *, confidence: bool = False) -> Toolset:
    """bash, search, editor and submit, outputs cut to `observation_chars` characters each.

    confidence: `submit` takes the probability that the work is right
    """
    return Toolset((Bash(), Search(), Editor(), Submit(confidence=confidence)), observation_chars)
