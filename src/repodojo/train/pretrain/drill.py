"""Drill: the base plays on sound functions and learns which tokens the editor cannot take, and nothing else.

Imitating what was accepted says nothing of a refused edit. But which token lost it is known from the text (`copying`):
the loss there is -log of the probability that all right tokens have together. It leaves open which of them comes, so
that the base edits as variously as before. No single token makes an edit that changes nothing, or one that was made
before: but the probability of a replacement is a product that can be computed for any edit, so of one that must not be
(the snippet itself, or what took its place earlier in the episode) the loss is -log(1 - P).

The functions hold no bug and test runs answer at random, so nothing here says what mends anything.
"""

from __future__ import annotations

import asyncio
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
from repodojo.train.pretrain.copying import Vocabulary, spots, start_of
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.dataset import PLAY, STEP, Transcripts, batches, end_with_parent
from repodojo.train.pretrain.loop import Schedule
from repodojo.train.pretrain.objective import Objective, rows
from repodojo.train.pretrain.transcripts import OBSERVATION_CHARS, OneFile, box_of, exercise

PART = 64  # episodes that one engine plays at once
SURE = 0.95  # -log(1 - p) is bounded by taking this share of p: one sure edit must not outweigh all others
END = '"}}'  # what ends a replacement
BARRED = 2  # of a lesson's barred replacements, how many a step looks at


@dataclass(frozen=True)
class Lesson:
    """An episode's tokens and the spots within its edits.

    ids [L]; at [S]: indices of spots; right [S, V / 8]: the tokens that were right there, as packed bits;
    barred [B, 3]: where a replacement begins, and the first token and end of what must not be it;
    tried, accepted: edits, and how many of them the editor took
    """

    ids: NDArray[np.int64]
    at: NDArray[np.int64]
    right: NDArray[np.uint8]
    barred: NDArray[np.int64]
    tried: int
    accepted: int

    def replaced(self, number: int, end: int) -> tuple[NDArray[np.int64], int]:
        """Tokens up to where an edit would have ended with the `number`-th barred replacement, and where that begins.

        end: the token that ends a replacement
        """
        at, first, last = self.barred[number]
        return np.concatenate([self.ids[:at], self.ids[first:last], [end]]), int(at)


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
                notes.judge(turn, not result.error, box.files.get(path, b"").decode(), context.view)
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
        self.barred: list[tuple[int, int, int]] = []
        self.made: dict[tuple[int, ...], list[tuple[int, int]]] = {}  # by snippet, the replacements so far
        self.tried = self.accepted = 0
        self.written = 0  # edits of this turn

    def hear(self, ids: Sequence[int]) -> None:
        self.ids += ids
        self.written = 0

    def judge(self, turn: Turn, accepted: bool, text: str, view: View) -> None:
        start = start_of(turn.action_ids, self.written, self.words)
        self.written += 1
        self.tried += 1
        self.accepted += accepted
        if start is None:
            return
        found = list(spots(turn.action_ids, start, text, view, self.words))
        self.at += [len(self.ids) + spot.at for spot in found]
        self.right += [np.packbits(spot.right) for spot in found]
        last = found[-1] if found else None
        if last is not None and last.right[turn.action_ids[last.at]] and self.words.closes(turn.action_ids[last.at]):
            self._bar(turn.action_ids, start, last.at + 1)

    def _bar(self, ids: Sequence[int], start: int, replacement: int) -> None:
        """Note what must not be the replacement: the snippet, and what was put in its place before."""
        before = len(self.ids)
        made = self.made.setdefault(tuple(ids[start : replacement - 1]), [])
        sources = [(before + start, before + replacement - 1), *made]
        self.barred += [(before + replacement, first, last) for first, last in sources]
        end = next((at for at in range(replacement, len(ids)) if self.words.texts[ids[at]] == END), None)
        if end is not None and tuple(ids[replacement:end]) not in (self._tokens(ids, *source) for source in sources):
            made.append((before + replacement, before + end))

    def _tokens(self, ids: Sequence[int], first: int, last: int) -> tuple[int, ...]:
        return tuple([*self.ids, *ids][first:last])

    def lesson(self) -> Lesson | None:
        if not self.at:
            return None
        arrays = np.array(self.at), np.stack(self.right), np.array(self.barred, np.int64).reshape(-1, 3)
        return Lesson(np.array(self.ids), *arrays, self.tried, self.accepted)


def _replaces(call: ToolCall) -> bool:
    return call.name == "editor" and call.arguments.get("command") == "str_replace"


def train(
    decoder: Decoder,
    lessons: Sequence[Lesson],
    transcripts: Transcripts,
    schedule: Schedule,
    *,
    end: int,
    mixed: float,
    seed: int,
    device: torch.device,
    on_step: Callable[[int, float], None],
) -> int:
    """Each lesson once, in place, beside as many tokens of `transcripts`; the steps done.

    end: the token that ends a replacement
    mixed: weight of the transcripts' loss, which keeps what is not drilled: what is edited, and how
    on_step: lessons done, and the mean over edits of -log P(right tokens throughout) in this step
    """
    decoder.to(device).train()
    optimizers = loop.make_optimizers(decoder, schedule)
    reads = Objective(decoder, schedule.batch_tokens, device)
    chosen = batches(transcripts, tokens=schedule.batch_tokens, seed=seed)
    groups = list(shuffled(lessons, tokens=schedule.batch_tokens // 3, seed=seed))
    rng = random.Random(seed)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=loop.has_bfloat16(device))
    for step, group in enumerate(groups):
        for optimizer, rate in zip(optimizers, (schedule.muon_rate, schedule.adam_rate), strict=True):
            optimizer.param_groups[0]["lr"] = rate * schedule.factor(step, len(groups))
        barred = [one.replaced(number, end) for one in group for number in _some(one, rng)]
        with autocast:
            wrong, again = losses(decoder, group, barred, device, tokens=schedule.batch_tokens)
            read, _, _ = reads(transcripts, next(chosen))
        (wrong + again + mixed * read).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(optimizers[1].param_groups[0]["params"], 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        on_step(len(group), float(wrong.detach()))
    return len(groups)


def _some(one: Lesson, rng: random.Random) -> list[int]:
    return rng.sample(range(len(one.barred)), min(BARRED, len(one.barred)))


def losses(
    decoder: Decoder,
    lessons: Sequence[Lesson],
    barred: Sequence[tuple[NDArray[np.int64], int]],
    device: torch.device,
    *,
    tokens: int = 0,
) -> tuple[Tensor, Tensor]:
    """Means over edits of -log P(right tokens throughout), and over barred replacements of -log(1 - P).

    barred: tokens of an episode up to such a replacement's end, and where it begins
    Empty rows are added up to `tokens`: kernels are prepared and kept for each shape that is met.
    """
    rows_ = [one.ids for one in lessons] + [ids for ids, _ in barred]
    length = -(-max(map(len, rows_)) // STEP) * STEP
    count = max(len(rows_), tokens // length)
    ids = torch.zeros(count, length, dtype=torch.long)
    for row, one in enumerate(rows_):
        ids[row, : len(one)] = torch.from_numpy(one)
    flat = ids.view(-1).to(device)
    hidden = decoder.hidden(flat, torch.arange(length).repeat(count).to(device), rows(count, length))
    spot_S = np.concatenate([row * length + one.at for row, one in enumerate(lessons)])
    right = np.unpackbits(np.concatenate([one.right for one in lessons]), axis=1, count=decoder.architecture.vocabulary)
    log_S = decoder.logits(hidden[torch.from_numpy(spot_S - 1).to(device)]).float().log_softmax(-1)
    right_S = log_S.masked_fill(torch.from_numpy(right == 0).to(device), -torch.inf).logsumexp(-1)
    wrong = -right_S.sum() / sum(one.tried for one in lessons)
    if not barred:
        return wrong, torch.zeros((), device=device)
    place = [(len(lessons) + row) * length + np.arange(first, len(one)) for row, (one, first) in enumerate(barred)]
    at_T = torch.from_numpy(np.concatenate(place)).to(device)
    log_T = decoder.logits(hidden[at_T - 1]).float().log_softmax(-1).gather(1, flat[at_T, None])[:, 0]
    of_T = torch.repeat_interleave(torch.arange(len(barred)), torch.tensor([len(each) for each in place])).to(device)
    p_B = torch.zeros(len(barred), device=device).index_add(0, of_T, log_T).exp()
    return wrong, -torch.log1p(-SURE * p_B).mean()


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
