"""Practice: the base plays on sound functions, then imitates those of its own turns that the tools accepted.

Form is all that is judged: calls that parse, edits that the editor takes, none made twice in an episode. The functions
hold no bug and test runs answer at random, so nothing here says what mends anything.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from repodojo.agent.loop import Played, play
from repodojo.agent.policy import ModelPolicy
from repodojo.agent.tools import default_tools
from repodojo.core.errors import SourceError
from repodojo.core.records import Turn
from repodojo.inference.chat import ChatFormat
from repodojo.inference.engine import Engine
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.dataset import LIMITS, Transcripts, end_with_parent
from repodojo.train.pretrain.transcripts import OBSERVATION_CHARS, box_of, exercise

PART = 64  # episodes that one engine plays at once


def sample(
    model: Path,
    functions: Sequence[Function],
    *,
    seed: int,
    workers: int,
    temperature: float,
    on_part: Callable[[int], None],
) -> Transcripts:
    """An episode a function; only tokens of accepted turns have weight. SourceError where no turn was accepted."""
    jobs = [(model, functions[i : i + PART], seed * 1_000_003 + i, temperature) for i in range(0, len(functions), PART)]
    context = multiprocessing.get_context("spawn")
    ids: list[int] = []
    weight: list[float] = []
    starts = [0]
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        for part in pool.map(_part, jobs):
            on_part(len(part))
            for played in part:
                tokens, weights = lesson(played)
                if any(weights):
                    ids += tokens
                    weight += weights
                    starts.append(len(ids))
    if len(starts) == 1:
        raise SourceError("no turn of the base was accepted", way_out="train it longer before it practises")
    return Transcripts(np.array(ids, np.uint16), np.array(weight, np.float32), np.array(starts, np.int64))


def lesson(played: Played) -> tuple[list[int], list[float]]:
    """Tokens of an episode up to its last accepted turn, and their weights: 1 where an accepted turn was sampled."""
    ids: list[int] = []
    weight: list[float] = []
    seen: set[tuple[str, str]] = set()
    end = 0
    for turn in played.turns:
        good = accepted(turn, seen)
        ids += [*turn.observation_ids, *turn.action_ids]
        weight += [0.0] * len(turn.observation_ids) + [float(good)] * len(turn.action_ids)
        end = len(ids) if good else end
    return ids[:end], weight[:end]


def accepted(turn: Turn, seen: set[tuple[str, str]]) -> bool:
    """Whether every call of the turn did something, and no edit repeats one in `seen` (which it is added to)."""
    edits = [
        (str(c.arguments.get("old_str")), str(c.arguments.get("new_str"))) for c in turn.calls if _edits(c.arguments)
    ]
    new = len(set(edits) - seen) == len(edits)
    seen.update(edits)
    return new and bool(turn.calls) and not turn.format_error and not any(result.error for result in turn.results)


def _edits(arguments: object) -> bool:
    return isinstance(arguments, dict) and arguments.get("command") == "str_replace"


def _part(job: tuple[Path, Sequence[Function], int, float]) -> list[Played]:
    torch.set_num_threads(1)
    return asyncio.run(_play_all(*job))


async def _play_all(model: Path, functions: Sequence[Function], seed: int, temperature: float) -> list[Played]:
    chat = ChatFormat.load(model)
    engine = Engine(model, max_context=LIMITS.max_context, max_rows=2 * PART)
    policy = ModelPolicy("base", engine, chat, temperature=temperature)
    tools = default_tools(OBSERVATION_CHARS)

    async def one(number: int, function: Function) -> Played:
        rng = random.Random(seed + number)
        task = exercise(function, rng)
        actor = policy.actor(rng.randrange(1 << 62))
        return await play(task, actor, box_of(function, task, rng), chat, tools=tools, limits=LIMITS)

    played = await asyncio.gather(*(one(i, function) for i, function in enumerate(functions)))
    await engine.aclose()
    return played
