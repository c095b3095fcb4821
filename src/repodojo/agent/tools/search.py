"""`search`: lines of the repository that hold a text or match a regular expression."""

from __future__ import annotations

from pydantic import Field

from repodojo.agent.tools.base import Arguments, ToolContext, Word
from repodojo.core.records import ToolResult

MOST_HITS = 50


class SearchArguments(Arguments):
    """What `search` takes."""

    query: Word = Field(description="Extended regular expression to look for.", min_length=1)
    path: Word = Field(default=".", description="File or folder to look in.")


class Search:
    """grep over text files, `path:line:text` for each hit."""

    name = "search"
    description = "Search the repository's files for a regular expression."
    arguments = SearchArguments

    async def run(self, arguments: SearchArguments, context: ToolContext) -> ToolResult:
        flags = ("-rHnIE", "--exclude-dir=.git", "--exclude-dir=__pycache__")
        argv = ("grep", *flags, "-e", arguments.query, "--", arguments.path)
        result = await context.sandbox.exec(argv)
        lines = result.output.decode("utf-8", "replace").splitlines()
        if result.exit_code == 1 and not lines:
            return ToolResult("no match")
        if result.exit_code not in (0, 1) and result.ended != "output":  # too many hits are hits
            return ToolResult("\n".join(lines[:3]) or f"grep ended by {result.ended}", "search-failed")
        more = [f"[{len(lines) - MOST_HITS} more]"] if len(lines) > MOST_HITS else []
        return ToolResult("\n".join(line.removeprefix("./") for line in lines[:MOST_HITS] + more))
