"""One session: an agent's calls to the model, checked against its limits, answered, and kept as exact tokens."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

from repodojo.core.errors import OutageError
from repodojo.core.protocols import Chooser, Model, SamplingParams, Sandbox
from repodojo.core.records import Task, ToolCall, ToolResult
from repodojo.gateway import forcing
from repodojo.gateway.asks import Ask, Call, Finish, GatewayError, Message, Reply, biasing
from repodojo.gateway.rendering import render
from repodojo.gateway.tree import Node, Tree, chained
from repodojo.gateway.writer import Order, Written, showable, write
from repodojo.inference.chat import ChatFormat
from repodojo.inference.toolcalls import split


@dataclass(frozen=True)
class Terms:
    """What a session may do, and how it samples.

    training: parameters that bias log-probs are left out with a warning, instead of refused
    temperature, seed: of every call, whatever the client asks for (None: the client's temperature, else 1)
    max_turns, max_tokens: calls, and sampled tokens a call (0: no bound);  max_context: tokens of prompt and answer
    """

    max_context: int
    training: bool = False
    temperature: float | None = None
    seed: int = 0
    max_turns: int = 0
    max_tokens: int = 0
    max_parallel: int = 16


@dataclass(eq=False)
class Session:
    """`counts`: calls; extended, branched; unmatched (echoed turns that are not what was sampled there); stripped and
    capped (calls with a parameter left out or lowered); aborted (calls whose client left); forced and forced_tokens
    (answers that had to be a tool call, and the tokens that made them one), unforced (those that became none).

    outage: the first failure of the engine; an episode that met one has no score
    spent: set once a call was refused because all were used up: none will ever be answered again
    box, task: where `/box/exec` runs commands (for `box_seconds` at most), and whose visible tests they may be
    """

    id: str
    model: Model
    chat: ChatFormat
    terms: Terms
    box: Sandbox | None = None
    box_seconds: float = 60.0
    task: Task | None = None
    on_call: Callable[[Session, Node], None] | None = None
    tree: Tree = field(default_factory=Tree)
    counts: Counter[str] = field(default_factory=Counter)
    stripped: set[str] = field(default_factory=set)
    limit: str = ""
    spent: asyncio.Event = field(default_factory=asyncio.Event)
    outage: OutageError | None = None
    in_flight: int = 0
    used: float = field(default_factory=time.monotonic)
    answers: dict[str, tuple[Message, ...]] = field(default_factory=dict)
    _lanes: list[str] = field(default_factory=list)
    _busy: set[str] = field(default_factory=set)
    _begun: int = 0

    def prepare(self, ask: Ask) -> Exchange:
        """The call, checked and rendered; GatewayError says what is wrong with it, before anything is sampled."""
        if not ask.messages or ask.messages[-1].role == "assistant":
            raise GatewayError("invalid", "the last message must be of the user or a tool", param="messages")
        forcing.check(ask.forced, ask.tools)
        terms = self.terms
        if terms.max_turns and self._begun >= terms.max_turns:
            self.limit = self.limit or "turns"
            self.spent.set()
            raise GatewayError("permission", f"this session's {terms.max_turns} calls are used up")
        if self.in_flight >= terms.max_parallel:
            raise GatewayError("rate", f"{terms.max_parallel} calls of this session are in flight already")
        warnings = self._unbiased(ask)
        try:
            chain = chained(ask.messages, ask.tools)
            parent, covered = self.tree.find(chain, ask.messages)
            observation = render(self.chat, ask, parent, covered)
        except RecursionError:
            raise GatewayError("invalid", "the messages are nested too deep", param="messages") from None
        head = forcing.opening(ask)
        observation += self.chat.encode(head) if head else []
        ids = [*(parent.ids() if parent else ()), *observation]
        room = terms.max_context - len(ids)
        if room <= 0:
            self.limit = self.limit or "context"
            cause = f"this model's maximum context length is {terms.max_context} tokens; your messages have {len(ids)}"
            raise GatewayError("invalid", cause, param="messages", code="context_length_exceeded")
        bounds = [b for b in (ask.max_tokens, terms.max_tokens, room) if b]
        if ask.max_tokens and min(bounds) < ask.max_tokens:
            self.counts["capped"] += 1
            warnings.append(f"max_tokens lowered to {min(bounds)}")
        self.counts["unmatched"] += sum(m.role == "assistant" for m in ask.messages[covered:])
        self._begun += 1
        self.used = time.monotonic()
        number = self._begun - 1
        return Exchange(self, ask, parent, chain[-1], tuple(observation), ids, min(bounds), warnings, number, head)

    def _unbiased(self, ask: Ask) -> list[str]:
        """Warnings for what training leaves out; GatewayError where nobody trains and the engine cannot do it."""
        biased = biasing(ask.biased)
        if self.terms.training:
            given = [*biased, *(["temperature"] if ask.temperature not in (None, self.terms.temperature) else [])]
            given += ["seed"] if ask.seed is not None else []
            self.counts["stripped"] += bool(given)
            self.stripped.update(given)
            return [f"{name} left out: it would bias training" for name in given]
        if biased:
            name = next(iter(biased))
            raise GatewayError("invalid", f"{name} is not supported: only temperature shapes sampling", param=name)
        return []

    def lane(self, parent: Node | None) -> str:
        """The engine's conversation for a call: its parent's where nobody else goes on from there."""
        lane = parent.lane if parent and not parent.children and parent.lane not in self._busy else ""
        if not lane:
            lane = f"{self.id}#{len(self._lanes)}"
            self._lanes.append(lane)
        self._busy.add(lane)
        return lane

    def leave(self, lane: str) -> None:
        """The call of this lane is over."""
        self._busy.discard(lane)

    def ran(self, call: ToolCall, result: ToolResult) -> None:
        """A command of the agent ran in the box: kept with the last answer, which is what it follows."""
        if self.tree.nodes:
            self.tree.nodes[-1].calls.append(call)
            self.tree.nodes[-1].results.append(result)

    def close(self) -> None:
        """Free what the engine keeps."""
        for lane in self._lanes:
            self.model.release(lane)


@dataclass(eq=False)
class Exchange:
    """One call being answered: iterate `pieces`, then read `reply`."""

    session: Session
    ask: Ask
    parent: Node | None
    chain: bytes
    observation: tuple[int, ...]
    ids: list[int]
    max_tokens: int
    warnings: list[str]
    number: int
    head: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    reply: Reply | None = None

    async def pieces(self) -> AsyncIterator[str]:
        """Text as it is sampled, tool calls left out; GatewayError where the engine fails."""
        session, ask, asked = self.session, self.ask, time.monotonic()
        session.in_flight += 1
        lane = session.lane(self.parent)
        shown = ""
        written = Written()
        try:
            order = self._order(lane)
            if forcing.chooses(ask):
                order = await self._choose(order)
            async for written in write(session.model, session.chat, order):
                if ask.stream:
                    safe = showable(written.text, ask.stop, calls=self._may_call())
                    if len(safe) > len(shown):
                        yield safe[len(shown) :]
                        shown = safe
            self._finish(written, lane, time.monotonic() - asked)
        except OutageError as error:
            session.outage = session.outage or error
            raise GatewayError("api", error.cause) from error
        finally:
            session.counts["aborted"] += self.reply is None
            session.in_flight -= 1
            session.leave(lane)
        assert self.reply is not None
        rest = self.reply.message.content[len(shown) :]
        if rest:
            yield rest

    async def answer(self) -> Reply:
        """The whole reply at once."""
        async for _ in self.pieces():
            pass
        assert self.reply is not None
        return self.reply

    def _may_call(self) -> bool:
        return bool(self.ask.tools) and self.ask.calls

    async def _choose(self, order: Order) -> Order:
        """The policy names the tool; a name that is none of those offered gives way to one that is, unsampled.

        Where nobody trains, an engine that can choose among names by itself does.
        """
        session, ask = self.session, self.ask
        if isinstance(session.model, Chooser) and not session.terms.training:
            names = forcing.names(ask.tools)
            name = await session.model.choose(self.ids, names, temperature=order.temperature, seed=order.seed)
            return self._named(order, name)
        most = min(forcing.longest(session.chat, ask), self.max_tokens)
        params = SamplingParams(order.temperature, most, session.chat.stop_ids)
        sampled = await session.model.generate(self.ids, params, seed=order.seed, session=order.lane)
        begun, name = forcing.chosen(session.chat, ask, sampled)
        return self._named(order, name) if begun is None else replace(order, begun=begun)

    def _named(self, order: Order, name: str) -> Order:
        """The call of this tool, unsampled up to its arguments."""
        text = forcing.after_head(name)
        forced = self.session.chat.encode(text)
        self.head, self.observation = self.head + text, (*self.observation, *forced)
        self.ids += forced
        self.max_tokens = max(1, self.max_tokens - len(forced))
        return replace(order, ids=self.ids, max_tokens=self.max_tokens, head=self.head)

    def _order(self, lane: str) -> Order:
        ask, terms = self.ask, self.session.terms
        temperature = terms.temperature if terms.temperature is not None else ask.temperature
        seed = terms.seed if terms.training or ask.seed is None else ask.seed
        return Order(
            self.ids,
            self.max_tokens,
            1.0 if temperature is None else temperature,
            (seed * 1009 + self.number) % (1 << 62),
            lane,
            ask.stop,
            ask.one_call and self._may_call(),
            ask.stream,
            self.head,
        )

    def _finish(self, written: Written, lane: str, seconds: float) -> None:
        session, chat = self.session, self.session.chat
        content, calls, error = split(written.text) if self._may_call() else (written.text, [], "")
        named = tuple(Call(f"call_{secrets.token_hex(12)}", c.name, c.arguments) for c in calls)
        message = Message("assistant", content, named)
        stopped = bool(written.tokens) and written.tokens[-1] in chat.stop_ids
        node = Node(
            *(
                self.id,
                self.parent,
                self.observation,
                written.completion(),
                message,
                self.head + chat.decode(written.tokens),
            ),
            *(lane, stopped, error, seconds),
        )
        branch = session.tree.add(node, self.chain)
        session.counts.update(calls=1, extended=self.parent is not None, branched=branch)
        if self.head:
            session.counts.update(forced=1, forced_tokens=len(chat.encode(self.head)), unforced=not calls)
        finish: Finish = "tool_calls" if named and written.finish == "stop" else written.finish
        tokens: list[tuple[str, float]] = []
        if self.ask.logprobs:
            tokens = [(chat.decode([i]), p) for i, p in zip(written.tokens, written.logprobs, strict=True)]
        self.reply = Reply(
            *(self.id, message, finish, len(self.ids), len(written.tokens)),
            cached_tokens=len(self.ids) - len(self.observation),
            stop=written.stop,
            tokens=tuple(tokens),
        )
        if session.on_call:
            session.on_call(session, node)
