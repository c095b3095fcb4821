"""OpenAI Chat Completions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from pydantic import Field

from repodojo.gateway.asks import NEUTRAL, Ask, Call, GatewayError, Message, Reply, Role
from repodojo.gateway.dialects.base import Loose, Strict, Text, arguments, chosen, compact, data, plain, read
from repodojo.gateway.session import Exchange, Session

FINISH = {"stop": "stop", "stop_sequence": "stop", "tool_calls": "tool_calls", "length": "length"}
ERROR_TYPES = {
    "authentication": "invalid_request_error",
    "permission": "invalid_request_error",
    "rate": "rate_limit_error",
    "api": "server_error",
    "overloaded": "server_error",
}


class _Function(Loose):
    name: str
    arguments: str


class _ToolCall(Loose):
    id: str = ""
    function: _Function


class _Message(Loose):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str = ""


class _ToolFunction(Loose):
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(Loose):
    type: Literal["function"]
    function: _ToolFunction


class _StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: bool = False


class _Format(Strict):
    type: Literal["text"]


class _Body(Strict):
    model: str
    messages: list[_Message] = Field(min_length=1)
    tools: list[_Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    seed: int | None = None
    n: Literal[1] | None = None
    logprobs: bool | None = None
    top_logprobs: Literal[0] | None = None
    response_format: _Format | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    # these say who asks, or where copies are kept; they change no answer
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None


class ChatCompletions:
    """POST /v1/chat/completions."""

    def parse(self, body: bytes, session: Session) -> Ask:
        given = read(_Body, body)
        stop = (given.stop,) if isinstance(given.stop, str) else tuple(given.stop or ())
        if len(stop) > 4 or "" in stop:
            raise GatewayError("invalid", "stop: up to four texts, none of them empty", param="stop")
        choice = chosen(given.tool_choice)
        return Ask(
            messages=tuple(_message(m) for m in given.messages),
            tools=[tool.model_dump(exclude_none=True) for tool in given.tools or ()],
            model=given.model,
            max_tokens=given.max_completion_tokens or given.max_tokens,
            temperature=given.temperature,
            stop=stop,
            stream=bool(given.stream),
            seed=given.seed,
            one_call=given.parallel_tool_calls is False or bool(choice.forced),
            forced=choice.forced,
            calls=choice.calls,
            logprobs=bool(given.logprobs),
            stream_usage=bool(given.stream_options and given.stream_options.include_usage),
            biased={name: getattr(given, name) for name in NEUTRAL},
        )

    def whole(self, exchange: Exchange, reply: Reply) -> dict[str, Any]:
        calls = [_call(call) for call in reply.message.calls]
        content = reply.message.content
        message = {"role": "assistant", "content": content if content or not calls else None, "refusal": None}
        choice = {
            "index": 0,
            "message": {**message, "tool_calls": calls} if calls else message,
            "logprobs": _logprobs(reply) if exchange.ask.logprobs else None,
            "finish_reason": _finish(exchange, reply),
        }
        return {**_head(exchange, "chat.completion"), "choices": [choice], "usage": usage(reply)}

    async def events(self, exchange: Exchange) -> AsyncIterator[str]:
        head = _head(exchange, "chat.completion.chunk")
        head |= {"usage": None} if exchange.ask.stream_usage else {}

        def chunk(delta: Mapping[str, Any], finish: str | None = None, logprobs: Any = None) -> str:
            choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
            return data({**head, "choices": [choice]})

        yield chunk({"role": "assistant", "content": ""})
        async for piece in exchange.pieces():
            yield chunk({"content": piece})
        reply = exchange.reply
        assert reply is not None
        for index, call in enumerate(reply.message.calls):
            yield chunk({"tool_calls": [{"index": index, **_call(call)}]})
        yield chunk({}, _finish(exchange, reply), _logprobs(reply) if exchange.ask.logprobs else None)
        if exchange.ask.stream_usage:
            yield data({**head, "choices": [], "usage": usage(reply)})
        yield "data: [DONE]\n\n"

    def error(self, error: GatewayError) -> dict[str, Any]:
        kind = ERROR_TYPES.get(error.kind, "invalid_request_error")
        return {"error": {"message": error.cause, "type": kind, "param": error.param, "code": error.code}}


def usage(reply: Reply) -> dict[str, Any]:
    """Tokens of a call; those of earlier calls that it continues count as cached."""
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    }


def _finish(exchange: Exchange, reply: Reply) -> str:
    """As this API ends: by "stop" where the client named the tool, for it knows then that a call comes."""
    return "stop" if exchange.ask.forced and reply.finish == "tool_calls" else FINISH[reply.finish]


def _message(given: _Message) -> Message:
    role: Role = "system" if given.role == "developer" else given.role
    calls = tuple(Call(c.id, c.function.name, arguments(c.function.arguments)) for c in given.tool_calls or ())
    return Message(role, plain(given.content), calls, given.tool_call_id)


def _call(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": compact(call.arguments)}}


def _logprobs(reply: Reply) -> dict[str, Any]:
    content = [
        {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}
        for text, logprob in reply.tokens
    ]
    return {"content": content, "refusal": None}


def _head(exchange: Exchange, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{exchange.id}",
        "object": kind,
        "created": int(time.time()),
        "model": exchange.ask.model,
        "system_fingerprint": None,
    }
