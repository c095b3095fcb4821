"""Anthropic Messages."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from repodojo.gateway.asks import Ask, Call, GatewayError, Message, Reply
from repodojo.gateway.dialects.base import Loose, Strict, Text, TextPart, chosen, compact, data, plain, read
from repodojo.gateway.session import Exchange, Session

FINISH = {"stop": "end_turn", "stop_sequence": "stop_sequence", "tool_calls": "tool_use", "length": "max_tokens"}
ERROR_TYPES = {
    "invalid": "invalid_request_error",
    "authentication": "authentication_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "rate": "rate_limit_error",
    "api": "api_error",
    "overloaded": "overloaded_error",
}


class _TextBlock(Loose):
    type: Literal["text"]
    text: str


class _ToolUse(Loose):
    type: Literal["tool_use"]
    id: str = ""
    name: str
    input: dict[str, Any]


class _ToolResult(Loose):
    type: Literal["tool_result"]
    tool_use_id: str
    content: Text = None
    is_error: bool | None = None


_Block = Annotated[_TextBlock | _ToolUse | _ToolResult, Field(discriminator="type")]


class _Message(Loose):
    role: Literal["user", "assistant"]
    content: str | list[_Block]


class _Tool(Loose):
    type: Literal["custom"] | None = None
    name: str = Field(min_length=1)
    description: str | None = None
    input_schema: dict[str, Any]


class _Thinking(Strict):
    type: Literal["disabled"]


class _Count(Strict):
    model: str
    messages: list[_Message] = Field(min_length=1)
    system: str | list[TextPart] | None = None
    tools: list[_Tool] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: _Thinking | None = None


class _Body(_Count):
    max_tokens: int = Field(ge=1)
    temperature: float | None = Field(None, ge=0, le=1)
    stop_sequences: list[str] | None = None
    stream: bool = False
    top_p: float | None = None
    top_k: int | None = None
    metadata: Any = None  # says who asks, like the next
    service_tier: Any = None


class AnthropicMessages:
    """POST /v1/messages."""

    def parse(self, body: bytes, session: Session) -> Ask:
        given = read(_Body, body)
        if "" in (given.stop_sequences or ()):
            raise GatewayError("invalid", "stop_sequences: none may be empty", param="stop_sequences")
        choice = chosen(given.tool_choice)
        return Ask(
            messages=_messages(given),
            tools=_tools(given),
            model=given.model,
            max_tokens=given.max_tokens,
            temperature=given.temperature,
            stop=tuple(given.stop_sequences or ()),
            stream=given.stream,
            one_call=bool((given.tool_choice or {}).get("disable_parallel_tool_use")) or bool(choice.forced),
            forced=choice.forced,
            calls=choice.calls,
            biased={"top_p": given.top_p, "top_k": given.top_k},
        )

    def count(self, body: bytes) -> Ask:
        """The call whose prompt /v1/messages/count_tokens asks about."""
        given = read(_Count, body)
        return Ask(_messages(given), _tools(given), given.model)

    def whole(self, exchange: Exchange, reply: Reply) -> dict[str, Any]:
        text = [{"type": "text", "text": reply.message.content}] if _has_text(reply) else []
        blocks = [*text, *(_use(call) for call in reply.message.calls)]
        end = {"stop_reason": FINISH[reply.finish], "stop_sequence": reply.stop or None}
        return {**_head(exchange), "content": blocks, **end, "usage": _usage(exchange, reply.completion_tokens)}

    async def events(self, exchange: Exchange) -> AsyncIterator[str]:
        message = {**_head(exchange), "content": [], "stop_reason": None, "stop_sequence": None}
        message["usage"] = _usage(exchange, 0)
        yield data({"type": "message_start", "message": message}, "message_start")
        index = 0
        async for piece in exchange.pieces():
            if not index:
                yield _start(0, {"type": "text", "text": ""})
                index = 1
            yield _delta(0, {"type": "text_delta", "text": piece})
        if index:
            yield _stop(0)
        reply = exchange.reply
        assert reply is not None
        for number, call in enumerate(reply.message.calls, index):
            yield _start(number, {**_use(call), "input": {}})
            yield _delta(number, {"type": "input_json_delta", "partial_json": compact(call.arguments)})
            yield _stop(number)
        end = {"stop_reason": FINISH[reply.finish], "stop_sequence": reply.stop or None}
        counted = {"output_tokens": reply.completion_tokens}
        yield data({"type": "message_delta", "delta": end, "usage": counted}, "message_delta")
        yield data({"type": "message_stop"}, "message_stop")

    def error(self, error: GatewayError) -> dict[str, Any]:
        body = {"type": ERROR_TYPES[error.kind], "message": error.cause}
        return {"type": "error", "error": body, "request_id": f"req_{secrets.token_hex(12)}"}


def _messages(given: _Count) -> tuple[Message, ...]:
    head = (Message("system", plain(given.system)),) if given.system else ()
    return (*head, *(made for message in given.messages for made in _split(message)))


def _split(message: _Message) -> list[Message]:
    """One message as ours: results of tools first, as the API demands, then what else was said."""
    if isinstance(message.content, str):
        return [Message(message.role, message.content)]
    blocks = message.content
    text = "".join(b.text for b in blocks if isinstance(b, _TextBlock))
    calls = tuple(Call(b.id, b.name, b.input) for b in blocks if isinstance(b, _ToolUse))
    results = [b for b in blocks if isinstance(b, _ToolResult)]
    if (results and message.role == "assistant") or (calls and message.role == "user"):
        raise GatewayError("invalid", "tool_use is of the assistant, tool_result of the user", param="messages")
    found = [Message("tool", plain(b.content), call_id=b.tool_use_id) for b in results]
    return [*found, Message(message.role, text, calls)] if text or calls or not results else found


def _tools(given: _Count) -> Sequence[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {"name": t.name, "description": t.description or "", "parameters": t.input_schema},
        }
        for t in given.tools or ()
    ]


def _use(call: Call) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)}


def _has_text(reply: Reply) -> bool:
    return bool(reply.message.content)


def _usage(exchange: Exchange, output: int) -> dict[str, Any]:
    """As the API counts: what continues earlier calls is read from the cache, and not part of input_tokens."""
    fresh = len(exchange.observation)
    return {
        "input_tokens": fresh,
        "output_tokens": output,
        "cache_read_input_tokens": len(exchange.ids) - fresh,
        "cache_creation_input_tokens": 0,
    }


def _head(exchange: Exchange) -> dict[str, Any]:
    return {"id": f"msg_{exchange.id}", "type": "message", "role": "assistant", "model": exchange.ask.model}


def _start(index: int, block: dict[str, Any]) -> str:
    return data({"type": "content_block_start", "index": index, "content_block": block}, "content_block_start")


def _delta(index: int, delta: dict[str, Any]) -> str:
    return data({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta")


def _stop(index: int) -> str:
    return data({"type": "content_block_stop", "index": index}, "content_block_stop")
