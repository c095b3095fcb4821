"""What a call of any API comes down to: messages, tools, how to sample; and what goes wrong with one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from repodojo.core.errors import RepodojoError

Role = Literal["system", "user", "assistant", "tool"]
Finish = Literal["stop", "stop_sequence", "tool_calls", "length"]
Kind = Literal["invalid", "authentication", "permission", "not_found", "too_large", "rate", "api", "overloaded"]

STATUS: Mapping[Kind, int] = {
    "invalid": 400,
    "authentication": 401,
    "permission": 403,
    "not_found": 404,
    "too_large": 413,
    "rate": 429,
    "api": 500,
    "overloaded": 529,
}


class GatewayError(RepodojoError):
    """A call that cannot be answered; each API writes it in its own form. `status` is that of HTTP."""

    def __init__(self, kind: Kind, cause: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(cause)
        self.kind, self.param, self.code = kind, param, code
        self.status = STATUS[kind]


@dataclass(frozen=True)
class Call:
    """A tool call within an assistant message."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """One message of a conversation; `call_id` says which call a tool message answers."""

    role: Role
    content: str = ""
    calls: tuple[Call, ...] = ()
    call_id: str = ""


@dataclass(frozen=True)
class Ask:
    """One call. `tools` are OpenAI-style functions; `biased` are sampling parameters that bias log-probs, as given.

    max_tokens: most sampled tokens (None: as many as the session allows);  temperature, seed: None where not given
    one_call: sampling ends with the first tool call;  logprobs: the answer carries them
    forced: the tool that must be called ("": any of them; None: none has to be);  calls: whether any may be
    instructed: the first message is this call's own;  store: a later call may go on from here by the answer's id
    """

    messages: tuple[Message, ...]
    tools: Sequence[Mapping[str, Any]] = ()
    model: str = "policy"
    max_tokens: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    seed: int | None = None
    one_call: bool = False
    forced: str | None = None
    calls: bool = True
    logprobs: bool = False
    stream_usage: bool = False
    instructed: bool = False
    store: bool = False
    biased: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """What was answered. `id` names the call in the session; `tokens` are those sampled, as (text, log-prob)."""

    id: str
    message: Message
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    stop: str = ""
    tokens: tuple[tuple[str, float], ...] = ()


NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "top_p": (None, 1),
    "top_k": (None, 0, -1),
    "min_p": (None, 0),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "repetition_penalty": (None, 1),
    "logit_bias": (None, {}),
}


def biasing(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that would change the distribution that tokens are drawn from, beyond its temperature.

    >>> biasing({"top_p": 1, "top_k": 40, "min_p": None})
    {'top_k': 40}
    """
    return {name: given[name] for name, neutral in NEUTRAL.items() if given.get(name) not in neutral}
