"""Drill: the base plays on sound functions and learns which of its own edits the editor takes, and at which token not.

Imitating what was accepted says nothing of a refused edit. But which token lost it is known from the text (`copying`):
the loss there is -log of the probability that all right tokens have together. It leaves open which of them comes, so
that the base edits as variously as before. What no single token decides is learnt from whole edits: those that were
accepted and new in their episode are imitated, those that change nothing or repeat an edit are made less likely.

The functions hold no bug and test runs answer at random, so nothing here says what mends anything.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from repodojo.agent.focus import retrieve
from repodojo.agent.loop import Played, play
from repodojo.agent.policy import ModelPolicy
from repodojo.agent.tools import ToolContext, default_tools
from repodojo.agent.tools.base import View
from repodojo.agent.tools.toolset import Toolset
from repodojo.core.errors import SourceError
from repodojo.core.records import Task, ToolCall, Turn
from repodojo.inference.chat import ChatFormat
from repodojo.inference.decoder import Decoder
from repodojo.inference.engine import Engine
from repodojo.inference.toolcalls import RawCall
from repodojo.train.pretrain import loop
from repodojo.train.pretrain.copying import Vocabulary, span_of, spots
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.dataset import PLAY, STEP, Transcripts, batches, end_with_parent
from repodojo.train.pretrain.loop import Schedule
from repodojo.train.pretrain.objective import Objective, rows
from repodojo.train.pretrain.transcripts import OBSERVATION_CHARS, OneFile, box_of, exercise

PART = 64  # episodes that one engine plays at once
WHOLE = 0.3  # weight of whole edits beside wrong tokens
LIKELY = math.log(0.2)  # less likely tokens of a useless edit are left alone: pushed down, they took all others along


@dataclass(frozen=True)
class Lesson:
    """An episode's tokens, the spots within its edits, and what became of each edit.

    ids [L]; at [S]: indices of spots; right [S, V / 8]: the tokens that were right there, as packed bits;
    edits [E, 2]: first token and end of each edit; worth [E]: 1 for an edit that was accepted and new, -1 for one that
    changes nothing or was made before, 0 where a token was wrong
    """

    ids: NDArray[np.int64]
    at: NDArray[np.int64]
    right: NDArray[np.uint8]
    edits: NDArray[np.int64]
    worth: NDArray[np.float32]


def sample(
    model: Path, functions: Sequence[Function], *, seed: int, workers: int, on_part: Callable[[int], None]
) -> list[Lesson]:
    """Lessons of an episode a function, at temperature 1. SourceError where no edit was tried."""
    jobs = [(model, functions[i : i + PART], seed * 1_000_003 + i) for i in range(0, len(functions), PART)]
    context = multiprocessing.get_context("spawn")
    lessons: list[Lesson] = []
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        for job, part in zip(jobs, pool.map(_part, jobs), strict=True):
            on_part(len(job[1]))
            lessons += part
    if not lessons:
        raise SourceError("the base tried no edit", way_out="train it longer before it is drilled")
    return lessons


def _part(job: tuple[Path, Sequence[Function], int]) -> list[Lesson]:
    torch.set_num_threads(1)
    return asyncio.run(_play_all(*job))


async def _play_all(model: Path, functions: Sequence[Function], seed: int) -> list[Lesson]:
    chat = ChatFormat.load(model)
    words = Vocabulary(chat.tokenizer)
    engine = Engine(model, max_context=PLAY.max_context, max_rows=PART)
    policy = ModelPolicy("base", engine, chat)
    tools = default_tools(OBSERVATION_CHARS)

    async def one(number: int, function: Function) -> Lesson | None:
        rng = random.Random(seed + number)
        task = exercise(function, rng)
        box = box_of(function, task, rng)
        played = await play(task, policy.actor(rng.randrange(1 << 62)), box, chat, tools=tools, limits=PLAY)
        box.files = dict(box.base)
        return await lesson(played, task, box, tools, words)

    made = await asyncio.gather(*(one(i, function) for i, function in enumerate(functions)))
    await engine.aclose()
    return [one for one in made if one is not None]


async def lesson(played: Played, task: Task, box: OneFile, tools: Toolset, words: Vocabulary) -> Lesson | None:
    """What an episode teaches, found by playing it again in a fresh box; None where it tried no edit."""
    listing = await retrieve(box, task.focus)
    context = ToolContext(task, box)
    context.view = listing.view if listing else context.view
    notes = _Notes(words)
    for turn in played.turns:
        notes.hear(turn.observation_ids)
        for call, result in zip(turn.calls, turn.results, strict=False):
            if _replaces(call):
                path = str(call.arguments.get("path") or context.view.path)
                notes.judge(turn, call, not result.error, box.files.get(path, b"").decode(), context.view)
            if call.name == "editor":
                tool, arguments = tools.check(RawCall(call.name, call.arguments))
                await tools.run(tool, arguments, context)
        notes.hear(turn.action_ids)
    return notes.lesson()


class _Notes:
    """A lesson in the making."""

    def __init__(self, words: Vocabulary) -> None:
        self.words = words
        self.ids: list[int] = []
        self.at: list[int] = []
        self.right: list[NDArray[np.uint8]] = []
        self.edits: list[tuple[int, int]] = []
        self.worth: list[float] = []
        self.tried: set[tuple[str, str]] = set()
        self.written = 0  # edits of this turn

    def hear(self, ids: Sequence[int]) -> None:
        self.ids += ids
        self.written = 0

    def judge(self, turn: Turn, call: ToolCall, accepted: bool, text: str, view: View) -> None:
        span = span_of(turn.action_ids, self.written, self.words)
        self.written += 1
        edit = str(call.arguments.get("old_str")), str(call.arguments.get("new_str"))
        if span is not None:
            found = list(spots(turn.action_ids, span[0], text, view, self.words))
            self.at += [len(self.ids) + spot.at for spot in found]
            self.right += [np.packbits(spot.right) for spot in found]
            self.edits.append((len(self.ids) + span[0], len(self.ids) + span[1]))
            copied = all(spot.right[turn.action_ids[spot.at]] for spot in found)
            self.worth.append(1.0 if accepted and edit not in self.tried else -1.0 if copied else 0.0)
        self.tried.add(edit)

    def lesson(self) -> Lesson | None:
        if not self.at:
            return None
        end = max(end for _, end in self.edits)
        arrays = np.array(self.at), np.stack(self.right), np.array(self.edits), np.array(self.worth, np.float32)
        return Lesson(np.array(self.ids[:end]), *arrays)


def _replaces(call: ToolCall) -> bool:
    return call.name == "editor" and call.arguments.get("command") == "str_replace"


def train(
    decoder: Decoder,
    lessons: Sequence[Lesson],
    transcripts: Transcripts,
    schedule: Schedule,
    *,
    mixed: float,
    seed: int,
    device: torch.device,
    on_step: Callable[[int, float], None],
) -> int:
    """Each lesson once, in place, beside as many tokens of `transcripts`; the steps done.

    mixed: weight of the transcripts' loss, which keeps what is not drilled
    on_step: lessons done, and the mean over edits of -log P(right tokens throughout) in this step
    """
    decoder.to(device).train()
    optimizers = loop.make_optimizers(decoder, schedule)
    reads = Objective(decoder, schedule.batch_tokens, device)
    chosen = batches(transcripts, tokens=schedule.batch_tokens, seed=seed)
    groups = list(shuffled(lessons, tokens=schedule.batch_tokens, seed=seed))
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=loop.has_bfloat16(device))
    for step, group in enumerate(groups):
        for optimizer, rate in zip(optimizers, (schedule.muon_rate, schedule.adam_rate), strict=True):
            optimizer.param_groups[0]["lr"] = rate * schedule.factor(step, len(groups))
        with autocast:
            wrong, whole = losses(decoder, group, device, tokens=schedule.batch_tokens)
            read, _, _ = reads(transcripts, next(chosen))
        (wrong + WHOLE * whole + mixed * read).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(optimizers[1].param_groups[0]["params"], 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        on_step(len(group), float(wrong.detach()))
    return len(groups)


def losses(
    decoder: Decoder, lessons: Sequence[Lesson], device: torch.device, *, tokens: int = 0
) -> tuple[Tensor, Tensor]:
    """Per edit: -log P(right tokens throughout), and -log P of the whole edit times its worth.

    Empty rows are added up to `tokens`: kernels are prepared and kept for each shape that is met.
    """
    length = -(-max(len(one.ids) for one in lessons) // STEP) * STEP
    count = max(len(lessons), tokens // length)
    ids = torch.zeros(count, length, dtype=torch.long)
    for row, one in enumerate(lessons):
        ids[row, : len(one.ids)] = torch.from_numpy(one.ids)
    flat = ids.view(-1).to(device)
    hidden = decoder.hidden(flat, torch.arange(length).repeat(count).to(device), rows(count, length))
    edits = sum(len(one.edits) for one in lessons)
    spot_S = np.concatenate([row * length + one.at for row, one in enumerate(lessons)])
    right = np.unpackbits(np.concatenate([one.right for one in lessons]), axis=1, count=decoder.architecture.vocabulary)
    log_S = decoder.logits(hidden[torch.from_numpy(spot_S - 1).to(device)]).log_softmax(-1)
    wrong = -log_S.masked_fill(torch.from_numpy(right == 0).to(device), -torch.inf).logsumexp(-1).sum() / edits
    token_T, worth_T = _worths(lessons, length)
    at_T = torch.from_numpy(token_T).to(device)
    log_T = decoder.logits(hidden[at_T - 1]).log_softmax(-1).gather(1, flat[at_T, None])[:, 0]
    weight_T = torch.from_numpy(worth_T).to(device)
    weight_T = weight_T.where((weight_T > 0) | (log_T.detach() > LIKELY), 0.0)
    return wrong, -(log_T * weight_T).sum() / edits


def _worths(lessons: Sequence[Lesson], length: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The edits' tokens within rows of `length` [T], and the worth of each one's edit [T]."""
    spans = [
        (row * length + np.arange(first, end), np.full(end - first, worth, np.float32))
        for row, one in enumerate(lessons)
        for (first, end), worth in zip(one.edits, one.worth, strict=True)
    ]
    return np.concatenate([at for at, _ in spans]), np.concatenate([worth for _, worth in spans])


def shuffled(lessons: Sequence[Lesson], *, tokens: int, seed: int) -> Iterator[list[Lesson]]:
    """Each lesson once, in batches of at most `tokens` padded tokens, long ones with long ones."""
    rng = np.random.default_rng(seed)
    order = sorted(rng.permutation(len(lessons)).tolist(), key=lambda i: len(lessons[i].ids) // STEP)
    groups: list[list[int]] = []
    for index in order:
        group = groups[-1] if groups else []
        if not group or (len(group) + 1) * len(lessons[index].ids) > tokens:
            groups.append([index])
        else:
            group.append(index)
    for number in rng.permutation(len(groups)):
        yield [lessons[i] for i in groups[number]]
