"""Who decides the next turn: a language model behind an engine, or a script. One interface for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from repodojo.core.protocols import Model, SamplingParams
from repodojo.inference.chat import ChatFormat


@dataclass(frozen=True)
class Act:
    """One assistant turn: its text, and the T tokens that were sampled with log-probs and policy versions.

    `stopped` says that the last token is the end of the turn; where a limit cut the turn, the loop appends that token.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]
    stopped: bool = True


@dataclass(frozen=True)
class Moment:
    """What a policy may look at: the conversation as tokens, and as texts (system, issue, then turn and outputs)."""

    token_ids: Sequence[int]
    texts: Sequence[str]
    max_tokens: int


class Actor(Protocol):
    """Plays one episode."""

    async def act(self, moment: Moment) -> Act: ...

    def close(self) -> None: ...


class Policy(Protocol):
    """Makes an actor for each episode."""

    @property
    def name(self) -> str: ...

    def actor(self, seed: int) -> Actor: ...


class ModelPolicy:
    """A language model. The engine keeps the conversation's KV between turns under the actor's session."""

    def __init__(self, name: str, model: Model, chat: ChatFormat, *, temperature: float = 1.0) -> None:
        self.name, self.model, self.chat, self.temperature = name, model, chat, temperature
        self._sessions = 0

    def actor(self, seed: int) -> Actor:
        self._sessions += 1
        return _ModelActor(self, seed, f"{self.name}-{self._sessions}")


class _ModelActor:
    def __init__(self, policy: ModelPolicy, seed: int, session: str) -> None:
        self.policy, self.seed, self.session, self.turn = policy, seed, session, 0

    async def act(self, moment: Moment) -> Act:
        policy, chat = self.policy, self.policy.chat
        params = SamplingParams(policy.temperature, moment.max_tokens, chat.stop_ids)
        seed = (self.seed * 1009 + self.turn) % (1 << 62)
        done = await policy.model.generate(moment.token_ids, params, seed=seed, session=self.session)
        self.turn += 1
        text = chat.decode(done.token_ids)
        # Whether the turn's end was sampled is read from the tokens: only then may the next observation leave it out.
        stopped = bool(done.token_ids) and done.token_ids[-1] in chat.stop_ids
        return Act(text, done.token_ids, done.logprobs, done.versions, stopped)

    def close(self) -> None:
        self.policy.model.release(self.session)


class Replaying:
    """An actor that first does again what was done before, then lets another go on."""

    def __init__(self, before: Sequence[Act], then: Actor) -> None:
        self._before, self._then = list(before), then

    async def act(self, moment: Moment) -> Act:
        return self._before.pop(0) if self._before else await self._then.act(moment)

    def close(self) -> None:
        self._then.close()


class Script(Protocol):
    """A rule that writes the next turn's text from the texts it was shown."""

    def __call__(self, texts: Sequence[str]) -> str: ...


class ScriptedPolicy:
    """A policy without a model; its turns are encoded so that token figures compare, with log-prob 0, version -1."""

    def __init__(self, name: str, make: ScriptMaker, chat: ChatFormat) -> None:
        self.name, self.make, self.chat = name, make, chat

    def actor(self, seed: int) -> Actor:
        return _ScriptedActor(self.make(seed), self.chat)


class ScriptMaker(Protocol):
    """Makes the script of one episode."""

    def __call__(self, seed: int) -> Script: ...


class _ScriptedActor:
    def __init__(self, script: Script, chat: ChatFormat) -> None:
        self.script, self.chat = script, chat

    async def act(self, moment: Moment) -> Act:
        text = self.script(moment.texts)
        ids = (*self.chat.encode(text), self.chat.stop_ids[0])
        return Act(text, ids, (0.0,) * len(ids), (-1,) * len(ids))

    def close(self) -> None:
        return None
