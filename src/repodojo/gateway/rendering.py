"""A call's messages as tokens: by the template, with no control token that a client wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from repodojo.gateway.asks import Ask, GatewayError, Message
from repodojo.gateway.tree import Node
from repodojo.inference.chat import ChatFormat


def render(chat: ChatFormat, ask: Ask, parent: Node | None, covered: int) -> list[int]:
    """Tokens of the messages that no earlier call covers, up to where the assistant begins to write."""
    messages = [_template_form(chat, message) for message in ask.messages[covered:]]
    try:
        if parent is None:
            return chat.prompt(messages, [harmless(chat, tool) for tool in ask.tools])
        return chat.continuation(messages, stopped=parent.stopped)
    except (jinja2.TemplateError, TypeError, UnicodeError) as error:
        raise GatewayError("invalid", f"the chat template refuses these messages: {error}", param="messages") from None


def _template_form(chat: ChatFormat, message: Message) -> dict[str, Any]:
    form: dict[str, Any] = {"role": message.role, "content": chat.harmless(message.content)}
    if message.calls:
        form["tool_calls"] = [
            {"type": "function", "function": {"name": chat.harmless(c.name), "arguments": harmless(chat, c.arguments)}}
            for c in message.calls
        ]
    return form


def harmless(chat: ChatFormat, value: Any) -> Any:
    """JSON of others without control tokens in any of its texts."""
    if isinstance(value, str):
        return chat.harmless(value)
    if isinstance(value, Mapping):
        return {chat.harmless(str(key)): harmless(chat, item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [harmless(chat, item) for item in value]
    return value
