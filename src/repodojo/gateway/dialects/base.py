"""What the dialects share: reading a body, texts in parts, server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from repodojo.gateway.asks import Ask, GatewayError, Reply
from repodojo.gateway.session import Exchange, Session


class Strict(BaseModel):
    """A body: what is unknown is refused, as the APIs do."""

    model_config = ConfigDict(extra="forbid")


class Loose(BaseModel):
    """Part of a message: clients echo fields of answers that mean nothing here."""

    model_config = ConfigDict(extra="ignore")


class TextPart(Loose):
    """Text as one of a list of parts; images and files are refused."""

    type: Literal["text", "input_text", "output_text"]
    text: str


Text = str | list[TextPart] | None
B = TypeVar("B", bound=BaseModel)


class Dialect(Protocol):
    """One API."""

    def parse(self, body: bytes, session: Session) -> Ask: ...

    def whole(self, exchange: Exchange, reply: Reply) -> dict[str, Any]: ...

    def events(self, exchange: Exchange) -> AsyncIterator[str]: ...

    def error(self, error: GatewayError) -> dict[str, Any]: ...


def read(kind: type[B], body: bytes) -> B:
    """The body as its model; GatewayError names the first field that is wrong."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"]) or None
        text = "Unrecognized request argument supplied" if first["type"] == "extra_forbidden" else first["msg"]
        raise GatewayError("invalid", f"{param}: {text}" if param else text, param=param) from None
    except RecursionError:
        raise GatewayError("invalid", "the body is nested too deep") from None


def plain(text: Text) -> str:
    """The text of a content."""
    return text or "" if isinstance(text, str) or text is None else "".join(part.text for part in text)


def arguments(text: str) -> Mapping[str, Any]:
    """The arguments of an echoed call."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise GatewayError("invalid", "the arguments of a tool call must be a JSON object", param="messages")
    return found


def compact(value: Mapping[str, Any]) -> str:
    """JSON on one line."""
    return json.dumps(value, ensure_ascii=False)


def data(value: Mapping[str, Any], event: str = "") -> str:
    """A server-sent event."""
    return f"{f'event: {event}' + chr(10) if event else ''}data: {json.dumps(value)}\n\n"


class Choice(NamedTuple):
    """What a tool_choice comes down to: as in `Ask`."""

    forced: str | None
    calls: bool


def chosen(choice: Any) -> Choice:
    """A tool_choice of any of the APIs; GatewayError where it is none.

    >>> chosen({"type": "function", "function": {"name": "ls"}}), chosen("none")
    (Choice(forced='ls', calls=True), Choice(forced=None, calls=False))
    """
    kind = choice.get("type") if isinstance(choice, dict) else choice
    if kind in (None, "auto"):
        return Choice(None, True)
    if kind == "none":
        return Choice(None, False)
    if kind in ("required", "any"):
        return Choice("", True)
    if kind in ("function", "tool"):
        name = choice.get("name") or (choice.get("function") or {}).get("name")
        if isinstance(name, str):
            return Choice(name, True)
    cause = "tool_choice: neither auto, none, required (any), nor a tool's name"
    raise GatewayError("invalid", cause, param="tool_choice")
