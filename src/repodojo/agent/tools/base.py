"""What a tool is: a pydantic schema, from which prompt, parser and validation all come, and an action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, runtime_checkable

from pydantic import AfterValidator, BaseModel, ConfigDict

from repodojo.core.protocols import ExecResult, Sandbox
from repodojo.core.records import Task, ToolResult
from repodojo.core.remembered import Remembered


class Arguments(BaseModel):
    """Base of a tool's arguments: unknown ones are refused, types are not guessed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MissingArguments(ValueError):
    """Raised in a validator where an argument is needed only because of another's value."""


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("cannot hold NUL")
    return text


Word = Annotated[str, AfterValidator(_without_nul)]
"""Text that becomes an argument of a process or a path, neither of which can hold NUL."""


@dataclass(frozen=True)
class View:
    """What the editor last showed: a file and, within it, ranges of lines (1-based, inclusive; empty: all)."""

    path: str = ""
    ranges: tuple[tuple[int, int], ...] = ()


def numbered(number: int, line: str) -> str:
    """A line as views and listings show it."""
    return f"{number}\t{line}"


@dataclass(frozen=True)
class Change:
    """One change of a file, for undoing it: its bytes before (None: it did not exist), the views before and after."""

    path: str
    before: bytes | None
    view_before: View
    view_after: View


@dataclass(frozen=True)
class Kept:
    """A whole output of which the agent saw head and tail: `shown` characters of head, `limit` a stretch."""

    text: str
    shown: int
    limit: int


Memo = Remembered[tuple[str, str], ExecResult]
"""Output of the visible command, by a task's id and the fingerprint of the changes."""


@dataclass
class ToolContext:
    """What the tools of one episode share.

    `memo` remembers what the task's own visible command printed for a state of the source; None switches that off.
    `untracked` becomes true once any other command ran: the box may then hold state that the source does not show.
    `undo` holds the editor's changes, oldest first. `episode` and `group` name what is played (for notes), `version`
    is the policy's that sampled last. `kept` holds the last outputs that were cut, by number (see `rest`).
    """

    task: Task
    sandbox: Sandbox
    memo: Memo | None = None
    view: View = field(default_factory=View)
    undo: list[Change] = field(default_factory=list)
    untracked: bool = False
    submitted: bool = False
    episode: str = ""
    group: str = ""
    version: int = -1
    notes_written: int = 0
    kept: dict[int, Kept] = field(default_factory=dict)


class Tool(Protocol):
    """One tool. `run` never raises for what the agent did wrong: that is a ToolResult with an error."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def arguments(self) -> type[Arguments]: ...

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult: ...


@runtime_checkable
class OwnSchema(Protocol):
    """A tool that brings a JSON schema of its own and checks calls by it, where a pydantic class is not to be had."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Any]: ...

    def check(self, arguments: Mapping[str, Any]) -> Any:
        """What `run` takes; ToolFormatError where the schema is broken."""
        ...

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult: ...


def schema(tool: Tool | OwnSchema) -> dict[str, Any]:
    """The tool as an OpenAI-style function, which chat templates render."""
    if isinstance(tool, OwnSchema):
        own = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
        return {"type": "function", "function": own}
    parameters = tool.arguments.model_json_schema()
    properties = {name: _plain(p) for name, p in parameters.get("properties", {}).items()}
    function: Mapping[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": {"type": "object", "properties": properties, "required": parameters.get("required", [])},
    }
    return {"type": "function", "function": dict(function)}


def _plain(field_schema: Mapping[str, Any]) -> dict[str, Any]:
    """Optional fields read as their type: models need not know how pydantic writes `X | None`."""
    plain = {k: v for k, v in field_schema.items() if k not in ("title", "default", "anyOf")}
    options = [o for o in field_schema.get("anyOf", ()) if o.get("type") != "null"]
    return plain | (options[0] if options else {})
