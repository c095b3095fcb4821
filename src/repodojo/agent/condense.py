"""Long conversations condensed: older turns give way to a digest, and the episode goes on in a new branch.

The digest is written by rule, a line a turn: what was called and how it ended. The newest turns stay token for token.
What was sampled before is an action in the branch that it was sampled in, and an observation in the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from repodojo.agent.policy import Act
from repodojo.core.records import Turn
from repodojo.inference.chat import ChatFormat

HEAD = "So far, condensed:"
CALL, RESULT, LINES = 90, 60, 40  # characters of a call and of a result; lines of a digest, the newest kept

Opening = Callable[[str], list[dict[str, str]]]
"""The first messages, with a digest ("" at the start)."""


@dataclass(frozen=True)
class Condensing:
    """at: tokens of the conversation from which older turns are condensed (0: never);  keep: newest turns kept."""

    at: int = 0
    keep: int = 2


def digest(turns: Sequence[Turn]) -> str:
    """A line a turn; "" for none.

    >>> from repodojo.core.records import ToolCall, ToolResult
    >>> call, result = ToolCall("bash", {"command": "ls"}), ToolResult("a.py" + chr(10) + "b.py")
    >>> print(digest([Turn((), (), (), (), calls=(call,), results=(result,))]))
    So far, condensed:
    bash(command='ls'): a.py
    """
    lines = ["; ".join(_told(turn)) for turn in turns]
    return "\n".join([HEAD, *lines[-LINES:]]) if lines else ""


def _told(turn: Turn) -> list[str]:
    if not turn.calls:
        return [f"(no call: {turn.format_error})"]
    pairs = zip(turn.calls, [*turn.results, *[None] * len(turn.calls)], strict=False)
    return [
        f"{_cut(f'{call.name}({_arguments(call.arguments)})', CALL)}"
        f": {_cut(result.output.strip().partition(chr(10))[0] if result else 'not run', RESULT)}"
        for call, result in pairs
    ]


def _arguments(given: Any) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in given.items())


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


@dataclass(frozen=True)
class _Taken:
    """A turn; output: what was read of it;  before: the observation that it answered, without any earlier context."""

    turn: Turn
    act: Act
    output: str
    before: Sequence[int]


@dataclass
class Conversation:
    """An episode's tokens and texts as its policy sees them now; branches: what it saw before each condensation."""

    chat: ChatFormat
    schemas: Sequence[dict[str, Any]]
    opening: Opening
    condensing: Condensing
    ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    branches: list[tuple[Turn, ...]] = field(default_factory=list)
    _taken: list[_Taken] = field(default_factory=list)
    _before: list[int] = field(default_factory=list)
    _digested: int = 0

    def begin(self) -> list[int]:
        """The first observation."""
        messages = self.opening("")
        self.texts = [message["content"] for message in messages]
        return self.chat.opening(messages, self.schemas)

    def taken(self) -> int:
        """Turns so far, those of earlier branches included."""
        return len(self._taken)

    def ended(self) -> tuple[list[Turn], list[tuple[Turn, ...]]]:
        """The turns of the last branch that has any, and the branches before it."""
        if not self.turns and self.branches:
            return list(self.branches[-1]), self.branches[:-1]
        return self.turns, self.branches

    def see(self, observation: list[int]) -> list[int]:
        """Take in what the next turn answers; returns it as it is, or the whole of a new branch where one begins."""
        self._before = observation
        seen = self._condensed(observation)
        self.ids += seen
        return seen

    def add(self, turn: Turn, act: Act) -> None:
        """A turn that was taken."""
        self.turns.append(turn)
        self._taken.append(_Taken(turn, act, "", self._before))

    def hear(self, output: str) -> None:
        """What the policy will read of its last turn."""
        last = self._taken[-1]
        self._taken[-1] = replace(last, output=output)
        self.texts += [last.act.text, output]

    def _condensed(self, observation: list[int]) -> list[int]:
        """A branch is begun where the conversation has grown too long and would become shorter."""
        older = len(self._taken) - self.condensing.keep
        length = len(self.ids) + len(observation)
        if not 0 < self.condensing.at <= length or older <= self._digested:
            return observation
        messages = self.opening(digest([taken.turn for taken in self._taken[:older]]))
        fresh = self.chat.prompt(messages, self.schemas)
        kept = self._taken[older:]
        for number, taken in enumerate(kept):
            fresh += [*(taken.before if number else ()), *taken.act.token_ids]
        fresh += observation if kept else ()
        if len(fresh) >= length:
            return observation
        self.branches.append(tuple(self.turns))
        self.turns, self.ids, self._digested = [], [], older
        self.texts = [message["content"] for message in messages]
        for taken in kept:
            self.texts += [taken.act.text, taken.output]
        return fresh
