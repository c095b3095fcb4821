"""How a server is reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator


class McpServer(BaseModel):
    """One MCP server. Its tools appear as `NAME_TOOL`; `tools` says which of them (empty: all).

    By `command` (stdio) it is started anew for every sandbox: `where = "host"` as a process of this machine in an empty
    folder of its own, which lives as long as the episode; `where = "box"` inside the agent's box, where it sees the
    agent's files; there it is started for every call, so what it keeps must be in files. By `url` (streamable HTTP) it
    is somebody else's, and every sandbox has a session of its own.
    `seconds` bounds a call, `start_seconds` the start and the listing of tools.

    >>> McpServer(name="docs", url="http://127.0.0.1:8000/mcp").seconds
    30.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    command: Annotated[tuple[str, ...], Strict(False)] = ()
    url: str = ""
    where: Literal["host", "box"] = "host"
    environment: Mapping[str, str] = Field(default_factory=dict)
    tools: Annotated[tuple[str, ...], Strict(False)] = ()
    seconds: float = Field(30.0, gt=0)
    start_seconds: float = Field(30.0, gt=0)

    @model_validator(mode="after")
    def _one_way(self) -> McpServer:
        if bool(self.command) == bool(self.url):
            raise ValueError(f"server {self.name}: give either a command or a url")
        if self.url and (self.where != "host" or self.environment):
            raise ValueError(f"server {self.name}: where and environment do nothing beside a url")
        if wrong := [name for name in self.environment if not name.isidentifier()]:
            raise ValueError(f"server {self.name}: {wrong[0]!r} is no variable's name")
        return self
