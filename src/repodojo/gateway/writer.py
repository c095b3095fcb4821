"""Sampling one answer piece by piece, so that it can be streamed and ended by a text that nobody tokenised."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from repodojo.core.errors import EngineError
from repodojo.core.protocols import Completion, Model, SamplingParams
from repodojo.gateway.asks import Finish
from repodojo.inference.chat import ChatFormat

PIECE = 16  # tokens sampled between two looks at the text
OPEN, CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class Order:
    """How to sample. `stop` texts end the answer and are not shown; `one_call` ends it after the first tool call.

    head: text of forced tokens, which stand at the end of `ids`;  begun: what was sampled after them already
    """

    ids: Sequence[int]
    max_tokens: int
    temperature: float
    seed: int
    lane: str
    stop: tuple[str, ...] = ()
    one_call: bool = False
    stream: bool = False
    head: str = ""
    begun: Completion | None = None


@dataclass
class Written:
    """What has been sampled so far; `text` is what was said, forced tokens included, without the stop that ended it."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    text: str = ""
    finish: Finish = "length"
    stop: str = ""

    def completion(self) -> Completion:
        """As an engine would have given it."""
        ended: Literal["length", "stop"] = "length" if self.finish == "length" else "stop"
        return Completion(tuple(self.tokens), tuple(self.logprobs), tuple(self.versions), ended)


async def write(model: Model, chat: ChatFormat, order: Order) -> AsyncIterator[Written]:
    """The answer as it grows (one object). Tokens after a stop text are dropped: nobody saw them, nothing depends on
    them, and those before keep the probability with which they were drawn."""
    written = Written()
    if order.begun is not None:
        written.tokens += order.begun.token_ids
        written.logprobs += order.begun.logprobs
        written.versions += order.begun.versions
    in_pieces = order.stream or order.stop or order.one_call
    done = False
    while not done:
        left = order.max_tokens - len(written.tokens)
        count = min(PIECE, left) if in_pieces else left
        params = SamplingParams(order.temperature, count, chat.stop_ids)
        ids = [*order.ids, *written.tokens]
        piece = await model.generate(ids, params, seed=order.seed, session=order.lane)
        if piece.finished == "aborted":
            raise EngineError("the engine aborted the call")
        before = len(written.tokens)
        written.tokens += piece.token_ids
        written.logprobs += piece.logprobs
        written.versions += piece.versions
        written.text = order.head + chat.decode(written.tokens)
        if piece.finished == "stop":
            written.finish = "stop"
        done = piece.finished != "length" or len(written.tokens) >= order.max_tokens or not piece.token_ids
        done = _ended_by_text(written, chat, order, before) or done
        yield written


def _ended_by_text(written: Written, chat: ChatFormat, order: Order, before: int) -> bool:
    """Cut at the first stop text, if there is one: the tokens right after that which completes it."""
    marks = [*order.stop, *([CLOSE] if order.one_call else [])]
    found = [(written.text.find(mark), mark) for mark in marks if mark in written.text]
    if not found:
        return False
    at, mark = min(found, key=lambda item: item[0] + len(item[1]))
    end = at + len(mark)
    said = end - len(order.head)
    keep = next(n for n in range(before, len(written.tokens) + 1) if len(chat.decode(written.tokens[:n])) >= said)
    for values in (written.tokens, written.logprobs, written.versions):
        del values[keep:]
    if mark in order.stop:
        written.text, written.finish, written.stop = written.text[:at], "stop_sequence", mark
    else:
        written.text, written.finish = written.text[:end], "stop"
    return True


def showable(text: str, stop: Sequence[str], *, calls: bool) -> str:
    """The part of an unfinished text that will stand whatever follows: no begun tool call, stop text or character.

    >>> showable("I look<tool_", (), calls=True), showable("the en", ("end",), calls=False)
    ('I look', 'the ')
    """
    marks = [*stop, *([OPEN] if calls else [])]
    cuts = [text.index(mark) for mark in marks if mark in text]
    text = text[: min(cuts)] if cuts else text
    text = text.rstrip("\ufffd")
    held = [n for mark in marks for n in range(1, len(mark)) if text.endswith(mark[:n])]
    return text[: len(text) - max(held)] if held else text
