"""A gateway on a real socket over a model that says what a test tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from repodojo.gateway.asks import Ask, Message, Reply
from repodojo.gateway.registry import Bounds, Gateway
from repodojo.gateway.server import serving
from repodojo.gateway.session import Session, Terms
from repodojo.inference.chat import ChatFormat
from repodojo.inference.fake import Call, FakeModel

CHAT = ChatFormat.load(Path(str(files("repodojo") / "assets" / "base")))
EOS = CHAT.stop_ids[0]
TERMS = Terms(max_context=8192)
LS = {"type": "function", "function": {"name": "ls", "description": "List.", "parameters": {"type": "object"}}}


def said(*texts: str) -> FakeModel:
    """A model that says these texts in turn, the last one for ever; pieces of an answer are continued."""
    state: dict[str, Any] = {"number": -1, "left": []}

    def script(call: Call) -> Sequence[int]:
        if not state["left"] or list(call.token_ids[-len(state["given"]) :]) != state["given"]:
            state["number"] = min(state["number"] + 1, len(texts) - 1)
            state["left"], state["given"] = [*CHAT.encode(texts[state["number"]]), EOS], []
        now = state["left"][: call.params.max_tokens]
        state["left"] = state["left"][len(now) :]
        state["given"] = state["given"] + now
        return now

    return FakeModel(script)


def calling(name: str, arguments: str = "{}") -> str:
    """A tool call as the model writes it."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def session(model: FakeModel, terms: Terms = TERMS) -> Session:
    """A session without a server."""
    return Session("s", model, CHAT, terms)


async def say(to: Session, *messages: Message, **ask: Any) -> Reply:
    """One call."""
    return await to.prepare(Ask(messages, **ask)).answer()


@asynccontextmanager
async def gateway(
    model: FakeModel, terms: Terms = TERMS, bounds: Bounds | None = None, on_call: Callable[..., None] | None = None
) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway whose own key is "own", and its base URL."""
    made = Gateway(model, CHAT, terms, key="own", bounds=bounds, on_call=on_call)
    async with serving(made) as url:
        yield made, url
