"""A model that says what it is told, for tests of everything that talks to a `Model`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from repodojo.core.errors import EngineError
from repodojo.core.protocols import Completion, SamplingParams


@dataclass(frozen=True)
class Call:
    """One generate call, as the fake received it."""

    token_ids: tuple[int, ...]
    params: SamplingParams
    seed: int
    session: str = ""


Script = Callable[[Call], Sequence[int] | Completion]


class FakeModel:
    """`Model` and `WeightSink` without weights.

    script: either token sequences, answered in order (EngineError when they run out), or a function of the call that
    returns tokens, a whole Completion, or raises. Tokens are cut at a stop id or at max_tokens as an engine would.

    >>> model = FakeModel([[5, 6, 7], [8]])
    >>> asyncio.run(model.generate([1, 2], SamplingParams(stop_ids=(6,)), seed=0)).token_ids
    (5, 6)
    """

    def __init__(self, script: Script | Iterable[Sequence[int]], *, logprob: float = -1.0, version: int = 0) -> None:
        self._script = script if callable(script) else _in_order(script)
        self._logprob, self.version = logprob, version
        self.calls: list[Call] = []
        self.released: list[str] = []
        self.published: list[int] = []

    async def generate(
        self, token_ids: Sequence[int], params: SamplingParams, *, seed: int, session: str = ""
    ) -> Completion:
        """What the script says, after other tasks had their turn (as with a real engine)."""
        call = Call(tuple(token_ids), params, seed, session)
        self.calls.append(call)
        await asyncio.sleep(0)
        answer = self._script(call)
        if isinstance(answer, Completion):
            return answer
        tokens = tuple(answer)[: params.max_tokens]
        stop = next((i for i, token in enumerate(tokens) if token in params.stop_ids), None)
        if stop is not None:
            tokens = tokens[: stop + 1]
        ended_itself = stop is not None or len(tokens) < params.max_tokens
        count = len(tokens)
        return Completion(
            tokens, (self._logprob,) * count, (self.version,) * count, "stop" if ended_itself else "length"
        )

    def release(self, session: str) -> None:
        """Noted in `released`."""
        self.released.append(session)

    def publish(self, version: int, weights: Mapping[str, object]) -> None:
        """Later tokens carry this version; the weights are ignored."""
        self.version = version
        self.published.append(version)


def _in_order(script: Iterable[Sequence[int]]) -> Script:
    answers = iter(script)

    def answer(_call: Call) -> Sequence[int]:
        for tokens in answers:
            return tokens
        raise EngineError("the fake model's script has run out")

    return answer
