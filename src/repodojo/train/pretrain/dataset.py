"""Transcripts as flat arrays on disk: token ids, and which of them the loss counts."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
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
PART = 500  # functions a piece of work


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
    functions: Sequence[Function],
    tokenizer: Path,
    *,
    seed: int,
    workers: int,
    on_part: Callable[[int], None],
    cache: Path | None = None,
) -> Transcripts:
    """One transcript a function, in parallel; the same seed gives the same transcripts whatever the workers.

    A function whose opening alone is longer than the context has none. SourceError where nothing is left. What is
    done is kept in the folder `cache`, and taken from there: it must be one of these functions and this seed alone.
    """
    jobs = [
        _Job(functions[i : i + PART], tokenizer, seed * 1_000_003 + i, cache and cache / f"{i // PART:05}.npz")
        for i in range(0, len(functions), PART)
    ]
    parts: list[Transcripts] = []
    for part in map(_part, jobs) if workers == 1 or len(jobs) == 1 else _side_by_side(jobs, workers):
        on_part(len(part))
        parts.append(part)
    if not sum(map(len, parts)):
        raise SourceError("no function fits into a transcript", way_out="give more sources")
    starts = np.concatenate([[0], np.cumsum(np.concatenate([part.lengths() for part in parts]))])
    return Transcripts(np.concatenate([p.ids for p in parts]), np.concatenate([p.counted for p in parts]), starts)


@dataclass(frozen=True)
class _Job:
    functions: Sequence[Function]
    tokenizer: Path
    seed: int
    cache: Path | None


def _side_by_side(jobs: Sequence[_Job], workers: int) -> Iterator[Transcripts]:
    # Spawned, not forked: tokenizers and torch hold threads and locks that a fork would copy in mid-use.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        yield from pool.map(_part, jobs)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for orders for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _part(job: _Job) -> Transcripts:
    if job.cache is not None and job.cache.is_file():
        with np.load(job.cache) as kept:
            return Transcripts(kept["ids"], kept["counted"], kept["starts"])
    made = asyncio.run(_play_all(job.functions, ChatFormat.load(job.tokenizer), job.seed))
    if job.cache is not None:
        partial = job.cache.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.savez(file, ids=made.ids, counted=made.counted, starts=made.starts)
        os.replace(partial, job.cache)
    return made


async def _play_all(functions: Sequence[Function], chat: ChatFormat, seed: int) -> Transcripts:
    ids: list[int] = []
    counted: list[bool] = []
    starts = [0]
    for offset, function in enumerate(functions):
        played = await transcript(function, chat, seed + offset, LIMITS)
        for index, turn in enumerate(played.turns):
            # The opening holds code, worth reading; later observations hold random verdicts, worth nothing.
            ids += [*turn.observation_ids, *turn.action_ids]
            counted += [index == 0] * len(turn.observation_ids) + [True] * len(turn.action_ids)
        if played.turns:
            starts.append(len(ids))
    return Transcripts(np.array(ids, np.uint16), np.array(counted, np.bool_), np.array(starts, np.int64))


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
