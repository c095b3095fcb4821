"""Forced tool calls: the answer begins with tokens that nobody sampled. They are read, not said, so never trained on.

A tool that the client names is written out; where it may be any of several, the policy samples the name, and only a
name that is none of theirs is replaced. What follows (the arguments) is sampled, so it may still be malformed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from repodojo.core.protocols import Completion
from repodojo.gateway.asks import Ask, GatewayError
from repodojo.inference.chat import ChatFormat

HEAD = '<tool_call>\n{"name": "'
_AFTER_NAME = '", "arguments": '


def names(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of tools in OpenAI's form."""
    return [str(tool["function"]["name"]) for tool in tools]


def check(forced: str | None, tools: Sequence[Mapping[str, Any]]) -> None:
    """GatewayError where a call is demanded that no tool can answer."""
    if forced and forced not in names(tools):
        raise GatewayError("invalid", f"tool_choice: there is no tool {forced!r}", param="tool_choice")
    if forced is not None and not tools:
        raise GatewayError("invalid", "tool_choice: a call is demanded, and there are no tools", param="tool_choice")


def opening(ask: Ask) -> str:
    """What the answer begins with before anything is sampled ("" where nothing is forced)."""
    if ask.forced is None:
        return ""
    offered = names(ask.tools)
    name = ask.forced or (offered[0] if len(offered) == 1 else "")
    return _written(name) if name else HEAD


def chooses(ask: Ask) -> bool:
    """Whether the policy is to choose among several tools."""
    return ask.forced == "" and len(ask.tools) > 1


def longest(chat: ChatFormat, ask: Ask) -> int:
    """Tokens that the longest name and what ends it may take."""
    return max(len(chat.encode(f"{name}{_AFTER_NAME}")) for name in names(ask.tools))


def chosen(chat: ChatFormat, ask: Ask, sampled: Completion) -> tuple[Completion | None, str]:
    """The sampled tokens that name an offered tool, and its name; else None, and the name that takes their place.

    It begins like what was sampled as far as any name does, so that the policy's choice counts.
    """
    text = chat.decode(sampled.token_ids)
    name, quote, _ = text.partition('"')
    offered = names(ask.tools)
    if quote and name in offered:
        count = next(n for n in range(len(sampled.token_ids) + 1) if '"' in chat.decode(sampled.token_ids[:n]))
        parts = (sampled.token_ids[:count], sampled.logprobs[:count], sampled.versions[:count])
        return Completion(*parts, "length"), name
    return None, max(offered, key=lambda other: _alike(name, other))


def after_head(name: str) -> str:
    """What follows `HEAD` in a call of this tool."""
    return _written(name).removeprefix(HEAD)


def _written(name: str) -> str:
    return f"{HEAD}{json.dumps(name, ensure_ascii=False)[1:-1]}{_AFTER_NAME}"


def _alike(one: str, other: str) -> int:
    """Letters that two names begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
