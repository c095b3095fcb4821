"""A session's calls as a tree of exact tokens: whatever extends what was sampled hangs below it.

A call's messages are hashed one by one into a chain. Where the chain up to an assistant message is that of an earlier
call and its answer, the call continues those very tokens; nothing that was sampled is tokenised again. What differs (a
rewritten context, an edited answer, other tools) has another chain and starts a branch where it first differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from repodojo.core.protocols import Completion
from repodojo.core.records import ToolCall, ToolResult, Turn
from repodojo.gateway.asks import Message


@dataclass(eq=False)
class Node:
    """One call: the tokens it appended to its parent's, and those sampled after them.

    stopped: whether the last sampled token ends the turn;  calls, results: what its agent then ran in the box
    """

    id: str
    parent: Node | None
    observation: tuple[int, ...]
    completion: Completion
    message: Message
    text: str
    lane: str
    stopped: bool
    format_error: str = ""
    seconds: float = 0.0
    children: int = 0
    calls: list[ToolCall] = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)

    def path(self) -> list[Node]:
        """From the root to this node."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def ids(self) -> list[int]:
        """All tokens up to here, this node's sampled ones included."""
        return [i for node in self.path() for i in (*node.observation, *node.completion.token_ids)]

    def turn(self, before: Sequence[int] = ()) -> Turn:
        """The node as a record; `before` are tokens of its path that are trained elsewhere."""
        said = tuple(ToolCall(call.name, call.arguments) for call in self.message.calls)
        return Turn(
            observation_ids=(*before, *self.observation),
            action_ids=self.completion.token_ids,
            logprobs=self.completion.logprobs,
            versions=self.completion.versions,
            text=self.text,
            calls=tuple(self.calls) or said,
            results=tuple(self.results),
            format_error=self.format_error,
            seconds=self.seconds,
        )


class Tree:
    """The nodes of a session, found again by what a client echoes."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._known: dict[bytes, list[Node]] = {}

    def find(self, chain: Sequence[bytes], messages: Sequence[Message]) -> tuple[Node | None, int]:
        """The deepest node that `messages` continue, and how many of them it covers (0 without one).

        chain: of `chained`, one entry more than messages.
        """
        for count in range(len(messages), 0, -1):
            if messages[count - 1].role == "assistant" and chain[count] in self._known:
                return _same_calls(self._known[chain[count]], messages[count - 1]), count
        return None, 0

    def add(self, node: Node, chain: bytes) -> bool:
        """Keep a node whose messages have this chain; returns whether it begins a branch."""
        branch = node.parent.children > 0 if node.parent else any(other.parent is None for other in self.nodes)
        if node.parent:
            node.parent.children += 1
        self.nodes.append(node)
        self._known.setdefault(link(chain, node.message), []).append(node)
        return branch

    def paths(self) -> list[tuple[Turn, ...]]:
        """One sequence of turns a leaf, the one with most calls first (of several, the latest).

        Each sampled token is an action in exactly one of them; the others show it as an observation.
        """
        leaves = [node.path() for node in self.nodes if not node.children]
        leaves.sort(key=len, reverse=True)
        longest = [path for path in leaves if len(path) == len(leaves[0])] if leaves else []
        if longest:
            leaves.remove(longest[-1])
            leaves.insert(0, longest[-1])
        trained: set[int] = set()
        return [_turns(path, trained) for path in leaves]


def _turns(path: Sequence[Node], trained: set[int]) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    before: list[int] = []
    for node in path:
        if id(node) in trained:
            before += [*node.observation, *node.completion.token_ids]
        else:
            turns.append(node.turn(before))
            trained.add(id(node))
            before = []
    return tuple(turns)


def _same_calls(nodes: Sequence[Node], echoed: Message) -> Node:
    """Of nodes that said the same, the one whose call ids are echoed; else the latest."""
    ids = [call.id for call in echoed.calls]
    return next((n for n in reversed(nodes) if [call.id for call in n.message.calls] == ids), nodes[-1])


def chained(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Hashes of every prefix of a conversation (length + 1), the first of the tools alone."""
    chain = [hashlib.blake2b(json.dumps(list(tools), sort_keys=True).encode(), digest_size=16).digest()]
    for message in messages:
        chain.append(link(chain[-1], message))
    return chain


def link(before: bytes, message: Message) -> bytes:
    """The next hash of a chain. Not told apart: white space around an assistant's text, the order of a call's keys,
    and call ids; clients change those and mean the same."""
    content = message.content.strip() if message.role == "assistant" else message.content
    calls = [[call.name, call.arguments] for call in message.calls]
    body = json.dumps([message.role, content, calls], sort_keys=True).encode()
    return hashlib.blake2b(before + body, digest_size=16).digest()
