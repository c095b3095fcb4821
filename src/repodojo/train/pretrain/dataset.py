"""Transcripts as flat arrays on disk: token ids, and which of them the loss counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repodojo.agent.loop import AgentLimits
from repodojo.core.errors import SourceError
from repodojo.inference.chat import ChatFormat
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.transcripts import transcript

LIMITS = AgentLimits(max_turns=6, max_tokens=256, max_context=1024)


@dataclass(frozen=True)
class Transcripts:
    """S transcripts end to end: ids and counted [N], starts [S + 1]."""

    ids: NDArray[np.uint16]
    counted: NDArray[np.bool_]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each transcript [S]."""
        return np.diff(self.starts)


def make(
    functions: Sequence[Function], tokenizer: Path, *, seed: int, workers: int, on_part: Callable[[int], None]
) -> Transcripts:
    """One transcript a function, in parallel; the same seed gives the same transcripts whatever the workers.

    A function whose opening alone is longer than the context has none. SourceError where nothing is left.
    """
    parts = [functions[i : i + 500] for i in range(0, len(functions), 500)]
    ids: list[NDArray[np.uint16]] = []
    counted: list[NDArray[np.bool_]] = []
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(_part, part, tokenizer, seed * 1_000_003 + i * 500) for i, part in enumerate(parts)]
        for job in jobs:
            done = job.result()
            on_part(len(done))
            ids += [pair[0] for pair in done]
            counted += [pair[1] for pair in done]
    if not ids:
        raise SourceError("no function fits into a transcript", way_out="give more sources")
    starts = np.concatenate([[0], np.cumsum([len(x) for x in ids])])
    return Transcripts(np.concatenate(ids), np.concatenate(counted), starts)


def _part(
    functions: Sequence[Function], tokenizer: Path, seed: int
) -> list[tuple[NDArray[np.uint16], NDArray[np.bool_]]]:
    chat = ChatFormat.load(tokenizer)
    return asyncio.run(_play_all(functions, chat, seed))


async def _play_all(
    functions: Sequence[Function], chat: ChatFormat, seed: int
) -> list[tuple[NDArray[np.uint16], NDArray[np.bool_]]]:
    found = []
    for offset, function in enumerate(functions):
        played = await transcript(function, chat, seed + offset, LIMITS)
        ids: list[int] = []
        counted: list[bool] = []
        for index, turn in enumerate(played.turns):
            # The opening holds code, worth reading; later observations hold random verdicts, worth nothing.
            ids += [*turn.observation_ids, *turn.action_ids]
            counted += [index == 0] * len(turn.observation_ids) + [True] * len(turn.action_ids)
        if ids:
            found.append((np.array(ids, np.uint16), np.array(counted, np.bool_)))
    return found


def batches(data: Transcripts, *, tokens: int, seed: int) -> Iterator[list[int]]:
    """Endless batches of transcript indices of like length, about `tokens` each, shuffled anew every epoch."""
    lengths = data.lengths()
    rng = np.random.default_rng(seed)
    while True:
        jittered = lengths * rng.uniform(0.9, 1.1, len(lengths))
        order = np.argsort(jittered)
        groups: list[list[int]] = [[]]
        longest = 0
        for index in order:
            longest = max(longest, int(lengths[index]))
            if groups[-1] and (len(groups[-1]) + 1) * longest > tokens:
                longest = int(lengths[index])
                groups.append([])
            groups[-1].append(int(index))
        for position in rng.permutation(len(groups)):
            yield groups[position]
