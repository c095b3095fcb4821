"""What the scheduler keeps: a conversation, a call, and the counters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from repodojo.core.protocols import Completion, SamplingParams
from repodojo.inference.kv import Slot
from repodojo.inference.prefixes import Block


@dataclass
class Stats:
    """What the engine did. `prompt_tokens` is what callers sent (less the last of each, which is decoded);
    `evictions` counts conversations and prefixes whose KV made room for others, `cancelled` those that were being
    served and had to wait again (they keep their tokens), `kept_tokens` those of conversations whose KV outlived a
    publication; seconds are wall-clock, but for `cpu_seconds`: of the engine's thread, in all steps."""

    prompt_tokens: int = 0
    prefilled_tokens: int = 0
    decoded_tokens: int = 0
    steps: int = 0
    evictions: int = 0
    cancelled: int = 0
    kept_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def reused_tokens(self) -> int:
        """Prompt tokens that needed no computing, less those that had to be computed again."""
        return self.prompt_tokens - self.prefilled_tokens


@dataclass(eq=False)
class Session:
    """A conversation: all its tokens so far, of which the first are `block` and the next `slot.length` have KV."""

    name: str
    ids: list[int] = field(default_factory=list)
    block: Block | None = None
    slot: Slot = field(default_factory=Slot)
    request: Request | None = None
    kept: bool = True

    @property
    def shared(self) -> int:
        """Tokens in the block."""
        return len(self.block.ids) if self.block else 0

    @property
    def missing(self) -> int:
        """Own tokens to prefill: all but the last, which is decoded."""
        return len(self.ids) - 1 - self.shared - self.slot.length

    @property
    def ready(self) -> bool:
        """Whether the next token can be decoded."""
        return self.missing == 0 and (self.block is None or self.block.missing == 0)


@dataclass(eq=False)
class Request:
    """One generate call; `uniforms` holds a number for every token that it may sample."""

    ids: list[int]
    params: SamplingParams
    uniforms: list[float]
    limit: Literal["length", "context"]
    future: asyncio.Future[Completion]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    session: Session | None = None
