"""OpenAI Responses."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from repodojo.gateway.asks import Ask, Call, GatewayError, Message, Reply, Role
from repodojo.gateway.dialects.base import Loose, Strict, TextPart, arguments, chosen, compact, data, plain, read
from repodojo.gateway.dialects.chat import ChatCompletions
from repodojo.gateway.session import Exchange, Session

KEPT_ANSWERS = 64  # a session's, for previous_response_id


class _Message(Loose):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]


class _FunctionCall(Loose):
    call_id: str
    name: str
    arguments: str


class _Output(Loose):
    call_id: str
    output: str | list[TextPart]


class _Reasoning(Loose):
    """Echoed by clients of reasoning models; nothing here made it, so nothing reads it."""


def _kind(item: Any) -> str:
    return str(item.get("type", "message")) if isinstance(item, dict) else "message"


_Item = Annotated[
    Annotated[_Message, Tag("message")]
    | Annotated[_FunctionCall, Tag("function_call")]
    | Annotated[_Output, Tag("function_call_output")]
    | Annotated[_Reasoning, Tag("reasoning")],
    Discriminator(_kind),
]


class _Tool(Loose):
    type: Literal["function"]
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Format(Strict):
    type: Literal["text"]


class _TextOptions(Strict):
    format: _Format | None = None


class _Body(Strict):
    model: str
    input: str | list[_Item]
    instructions: str | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    stream: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    text: _TextOptions | None = None
    truncation: Literal["disabled"] | None = None
    background: Literal[False] | None = None
    top_p: float | None = None
    top_logprobs: Literal[0] | None = None
    # these say who asks, or ask for parts that no answer here has
    user: Any = None
    metadata: Any = None
    include: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None


class Responses:
    """POST /v1/responses."""

    def parse(self, body: bytes, session: Session) -> Ask:
        given = read(_Body, body)
        head = (Message("system", given.instructions),) if given.instructions else ()
        earlier: tuple[Message, ...] = ()
        if given.previous_response_id:
            if given.previous_response_id not in session.answers:
                cause = f"Previous response with id '{given.previous_response_id}' not found."
                raise GatewayError("invalid", cause, param="previous_response_id", code="previous_response_not_found")
            earlier = session.answers[given.previous_response_id]
        said = [Message("user", given.input)] if isinstance(given.input, str) else _messages(given.input)
        tools = [
            {"type": "function", "function": t.model_dump(exclude_none=True, exclude={"type"})}
            for t in given.tools or ()
        ]
        choice = chosen(given.tool_choice)
        return Ask(
            messages=(*head, *earlier, *said),
            tools=tools,
            model=given.model,
            max_tokens=given.max_output_tokens,
            temperature=given.temperature,
            stream=bool(given.stream),
            one_call=given.parallel_tool_calls is False or bool(choice.forced),
            forced=choice.forced,
            calls=choice.calls,
            instructed=bool(head),
            store=given.store is not False,
            biased={"top_p": given.top_p},
        )

    def whole(self, exchange: Exchange, reply: Reply) -> dict[str, Any]:
        _keep(exchange, reply)
        return self._response(exchange, reply)

    async def events(self, exchange: Exchange) -> AsyncIterator[str]:
        numbers = itertools.count()

        def event(kind: str, **fields: Any) -> str:
            return data({"type": kind, "sequence_number": next(numbers), **fields}, kind)

        yield event("response.created", response=self._response(exchange))
        yield event("response.in_progress", response=self._response(exchange))
        at = {"output_index": 0, "item_id": f"msg_{exchange.id}"}
        text = ""
        async for piece in exchange.pieces():
            if not text:
                item = {**_message_item(exchange, ""), "content": [], "status": "in_progress"}
                yield event("response.output_item.added", output_index=0, item=item)
                yield event("response.content_part.added", content_index=0, part=_part(""), **at)
            text += piece
            yield event("response.output_text.delta", content_index=0, delta=piece, logprobs=[], **at)
        if text:
            yield event("response.output_text.done", content_index=0, text=text, logprobs=[], **at)
            yield event("response.content_part.done", content_index=0, part=_part(text), **at)
            yield event("response.output_item.done", output_index=0, item=_message_item(exchange, text))
        reply = exchange.reply
        assert reply is not None
        for index, call in enumerate(reply.message.calls, 1 if text else 0):
            item = _call_item(call)
            at = {"output_index": index, "item_id": item["id"]}
            begun = {**item, "arguments": "", "status": "in_progress"}
            yield event("response.output_item.added", output_index=index, item=begun)
            yield event("response.function_call_arguments.delta", delta=item["arguments"], **at)
            done = {"arguments": item["arguments"], "name": call.name}
            yield event("response.function_call_arguments.done", **done, **at)
            yield event("response.output_item.done", output_index=index, item=item)
        response = self.whole(exchange, reply)
        yield event(f"response.{response['status']}", response=response)

    def error(self, error: GatewayError) -> dict[str, Any]:
        return ChatCompletions().error(error)

    def _response(self, exchange: Exchange, reply: Reply | None = None) -> dict[str, Any]:
        output: list[dict[str, Any]] = []
        status = "in_progress"
        if reply:
            output = [_message_item(exchange, reply.message.content)] if reply.message.content else []
            output += [_call_item(call) for call in reply.message.calls]
            status = "incomplete" if reply.finish == "length" else "completed"
        tools = [{"type": "function", "strict": False, **tool["function"]} for tool in exchange.ask.tools]
        return {
            "id": f"resp_{exchange.id}",
            "object": "response",
            "created_at": int(time.time()),
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": exchange.ask.messages[0].content if exchange.ask.instructed else None,
            "model": exchange.ask.model,
            "output": output,
            "parallel_tool_calls": not exchange.ask.one_call,
            "tool_choice": _choice(exchange.ask),
            "tools": tools,
            "usage": _usage(reply) if reply else None,
        }


def _choice(ask: Ask) -> str | dict[str, str]:
    if ask.forced:
        return {"type": "function", "name": ask.forced}
    return "required" if ask.forced is not None else "auto" if ask.calls else "none"


def _messages(items: Sequence[_Message | _FunctionCall | _Output | _Reasoning]) -> list[Message]:
    """Items as messages; a call belongs to the assistant's message before it."""
    found: list[Message] = []
    for item in items:
        if isinstance(item, _Output):
            found.append(Message("tool", plain(item.output), call_id=item.call_id))
        elif isinstance(item, _FunctionCall):
            call = Call(item.call_id, item.name, arguments(item.arguments))
            before = found.pop() if found and found[-1].role == "assistant" else Message("assistant")
            found.append(Message("assistant", before.content, (*before.calls, call)))
        elif isinstance(item, _Message):
            role: Role = "system" if item.role == "developer" else item.role
            found.append(Message(role, plain(item.content)))
    return found


def _keep(exchange: Exchange, reply: Reply) -> None:
    """For previous_response_id: what was said, without the instructions, which are each call's own."""
    if exchange.ask.store:
        answers = exchange.session.answers
        answers[f"resp_{exchange.id}"] = (*exchange.ask.messages[exchange.ask.instructed :], reply.message)
        if len(answers) > KEPT_ANSWERS:
            del answers[next(iter(answers))]


def _message_item(exchange: Exchange, text: str) -> dict[str, Any]:
    head = {"type": "message", "id": f"msg_{exchange.id}", "status": "completed", "role": "assistant"}
    return {**head, "content": [_part(text)]}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call_item(call: Call) -> dict[str, Any]:
    head = {"type": "function_call", "id": f"fc_{call.id.removeprefix('call_')}", "call_id": call.id}
    return {**head, "name": call.name, "arguments": compact(call.arguments), "status": "completed"}


def _usage(reply: Reply) -> dict[str, Any]:
    return {
        "input_tokens": reply.prompt_tokens,
        "input_tokens_details": {"cached_tokens": reply.cached_tokens},
        "output_tokens": reply.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
    }
