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

OPENING = 0.2  # weight of the prompt's tokens: three quarters of all that counts, and not what the gate asks for
STEP = 64
LIMITS = AgentLimits(max_turns=8, max_tokens=256, max_context=1024)  # of the explorer's episodes
PLAY = AgentLimits(max_turns=8, max_tokens=96, max_context=1536)  # of the base's own episodes
PART = 500  # functions a piece of work


@dataclass(frozen=True)
class Transcripts:
    """S transcripts end to end: ids and weight (of each token in the loss) [N], starts [S + 1]."""

    ids: NDArray[np.uint16]
    weight: NDArray[np.float32]
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
    faults: float = 0.0,
) -> Transcripts:
    """One transcript a function, in parallel; the same seed gives the same transcripts whatever the workers.

    `faults` is the share of edits that the editor refuses. Turns with an error weigh nothing, those after it count.

    A function whose opening alone is longer than the context has none. SourceError where nothing is left. What is
    done is kept in the folder `cache`, and taken from there: it must be one of these functions and this seed alone.
    """
    jobs = [
        _Job(functions[i : i + PART], tokenizer, seed * 1_000_003 + i, faults, cache and cache / f"{i // PART:05}.npz")
        for i in range(0, len(functions), PART)
    ]
    parts: list[Transcripts] = []
    for part in map(_part, jobs) if workers == 1 or len(jobs) == 1 else _side_by_side(jobs, workers):
        on_part(len(part))
        parts.append(part)
    if not sum(map(len, parts)):
        raise SourceError("no function fits into a transcript", way_out="give more sources")
    starts = np.concatenate([[0], np.cumsum(np.concatenate([part.lengths() for part in parts]))])
    return Transcripts(np.concatenate([p.ids for p in parts]), np.concatenate([p.weight for p in parts]), starts)


@dataclass(frozen=True)
class _Job:
    functions: Sequence[Function]
    tokenizer: Path
    seed: int
    faults: float
    cache: Path | None


def _side_by_side(jobs: Sequence[_Job], workers: int) -> Iterator[Transcripts]:
    # Spawned, not forked: tokenizers and torch hold threads and locks that a fork would copy in mid-use.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        yield from pool.map(_part, jobs)


def end_with_parent() -> None:
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
            return Transcripts(kept["ids"], kept["weight"], kept["starts"])
    made = asyncio.run(_play_all(job.functions, ChatFormat.load(job.tokenizer), job.seed, job.faults))
    if job.cache is not None:
        partial = job.cache.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.savez(file, ids=made.ids, weight=made.weight, starts=made.starts)
        os.replace(partial, job.cache)
    return made


async def _play_all(functions: Sequence[Function], chat: ChatFormat, seed: int, faults: float) -> Transcripts:
    ids: list[int] = []
    weight: list[float] = []
    starts = [0]
    for offset, function in enumerate(functions):
        played = await transcript(function, chat, seed + offset, LIMITS, faults)
        for index, turn in enumerate(played.turns):
            # The opening holds code, worth reading; later observations hold random verdicts, worth nothing.
            ids += [*turn.observation_ids, *turn.action_ids]
            opening = OPENING if index == 0 else 0.0
            sound = not any(result.error for result in turn.results)
            weight += [opening] * len(turn.observation_ids) + [float(sound)] * len(turn.action_ids)
        if played.turns:
            starts.append(len(ids))
    return Transcripts(np.array(ids, np.uint16), np.array(weight, np.float32), np.array(starts, np.int64))


def batches(data: Transcripts, *, tokens: int, seed: int) -> Iterator[list[int]]:
    """Endless batches of transcript indices, every one once an epoch, shuffled anew each time.

    A batch holds transcripts of one `padded` length, as many as fit into `tokens`.
    """
    length = padded(data.lengths())
    rng = np.random.default_rng(seed)
    while True:
        groups: list[list[int]] = []
        for size in np.unique(length):
            members = rng.permutation(np.flatnonzero(length == size)).tolist()
            rows = max(1, tokens // int(size))
            groups += [members[i : i + rows] for i in range(0, len(members), rows)]
        for position in rng.permutation(len(groups)):
            yield groups[position]


def padded(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lengths rounded up to few distinct ones: kernels are prepared and kept for each shape that is met."""
    return -(-lengths // STEP) * STEP
