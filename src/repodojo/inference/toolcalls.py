"""Tool calls in Qwen3's chat form: `<tool_call>` + one JSON object + `</tool_call>`, any number in a turn."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repodojo.core.errors import ToolFormatError

_BLOCK = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)


@dataclass(frozen=True)
class RawCall:
    """A call as written: JSON was sound, the tool's own schema has not been asked yet."""

    name: str
    arguments: Mapping[str, Any]


def parse(text: str) -> list[RawCall | ToolFormatError]:
    """The calls of one assistant turn in order, each sound or the error that names what is wrong with it.

    >>> parse('<tool_call>\\n{"name": "submit", "arguments": {}}\\n</tool_call>')
    [RawCall(name='submit', arguments={})]
    >>> [e.kind for e in parse("I am done.")]
    ['no-call']
    """
    blocks = _BLOCK.findall(text)
    if not blocks:
        return [ToolFormatError("no-call", "the turn holds no <tool_call>")]
    return [_parse_block(block.strip()) for block in blocks]


def split(text: str) -> tuple[str, list[RawCall], str]:
    """An assistant turn as its text, its sound calls, and the kind of the first error; malformed calls stay text.

    >>> split('I look.<tool_call>{"name": "ls"}</tool_call>')
    ('I look.', [RawCall(name='ls', arguments={})], '')
    """
    calls: list[RawCall] = []
    errors: list[str] = []

    def take(match: re.Match[str]) -> str:
        found = _parse_block(match[1].strip())
        if isinstance(found, RawCall):
            calls.append(found)
            return ""
        errors.append(found.kind)
        return match[0]

    return _BLOCK.sub(take, text), calls, (errors or [""])[0]


def _parse_block(block: str) -> RawCall | ToolFormatError:
    try:
        data = json.loads(block)
        json.dumps(data, ensure_ascii=False).encode()  # no file, command or token holds half of a surrogate pair
    except RecursionError:
        return ToolFormatError("bad-json", "not JSON: nested too deep")
    except UnicodeEncodeError:
        return ToolFormatError("bad-json", "not JSON: half of a surrogate pair stands alone")
    except ValueError as error:  # not only JSONDecodeError: Python refuses numbers of thousands of digits
        return ToolFormatError("bad-json", f"not JSON: {getattr(error, 'msg', 'a number is too long')}")
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return ToolFormatError("not-an-object", 'a call is {"name": ..., "arguments": {...}}')
    arguments = data.get("arguments", {})
    if not isinstance(arguments, dict):
        return ToolFormatError("not-an-object", "arguments must be an object")
    return RawCall(data["name"], arguments)


def render(name: str, arguments: Mapping[str, Any]) -> str:
    """The text that `parse` reads back; an end mark within a string is escaped, as JSON allows for `/`."""
    body = json.dumps({"name": name, "arguments": dict(arguments)}, ensure_ascii=False)
    body = body.replace("</tool_call>", "<\\/tool_call>")
    return f"<tool_call>\n{body}\n</tool_call>"
