"""One session of a product, a JSON object a line (docs/feedback.md), read one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic import Strict as Exactly

from repodojo.core.errors import UserError

Outcome = Literal["accepted", "edited", "rejected", "reverted", "kept"]
LONGEST = 16 << 20  # bytes of a line; longer ones are refused unread, so that memory stays flat


class Session(BaseModel):
    """One piece of an agent's work and what became of it. Unknown fields are refused, types are not guessed.

    task: what was asked, by an id that sessions of the same task share (of a task set, where weights shall reach it)
    retention: share of the agent's lines that were there after so many days, where the product knows it
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, cache_strings="keys")

    id: str = Field(min_length=1)
    task: str = Field(min_length=1)
    outcome: Outcome
    prompt: str = ""
    response: str = ""
    time: Annotated[datetime | None, Exactly(False)] = None
    commit: str = Field(default="", pattern=r"^([0-9a-f]{7,64})?$")
    tool_calls: int = Field(default=0, ge=0)
    tool_errors: int = Field(default=0, ge=0)
    tokens: int = Field(default=0, ge=0)
    retention: dict[Annotated[str, Field(pattern=r"^[1-9][0-9]*$")], Annotated[float, Field(ge=0, le=1)]] = {}

    @model_validator(mode="after")
    def _errors_are_calls(self) -> Self:
        if self.tool_errors > self.tool_calls:
            raise ValueError("tool_errors: more errors than tool_calls")
        return self


class Malformed(BaseModel):
    """A row that cannot be read: its line, the field at fault ("" for the whole line), and why."""

    line: int
    field: str
    why: str


def rows(path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> Iterator[Session | Malformed]:
    """Every row in order, sound or named; blank lines count and give nothing. UserError where FILE cannot be read."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(LONGEST + 1):
                number += 1
                on_bytes(len(line))
                if len(line) > LONGEST and not line.endswith(b"\n"):
                    while (rest := file.readline(LONGEST)) and not rest.endswith(b"\n"):
                        on_bytes(len(rest))
                    yield Malformed(line=number, field="", why=f"longer than {LONGEST >> 20} MiB")
                elif line.strip():
                    yield _read(number, line)
    except OSError as error:
        raise _unreadable(path, error) from None


def check_readable(path: Path) -> None:
    """UserError where FILE cannot be read, before anything is written."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: {error.strerror}", way_out="name a file of sessions that can be read")


def _read(number: int, line: bytes) -> Session | Malformed:
    try:
        return Session.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        field = ".".join(str(part) for part in first["loc"])
        if not field and ": " in message and message.split(":")[0] in Session.model_fields:
            field, _, message = message.partition(": ")
        return Malformed(line=number, field=field, why=message)
