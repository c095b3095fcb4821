"""Drill: the base plays on sound functions, and where it writes an edit it learns what the explorer would write.

Transcripts are the explorer's episodes; the base's own lead elsewhere, and one wrong token there loses an edit. But
what the explorer would write at any point of an edit is known, as shares of all tokens (`copying`). At what the base
sampled itself (Ross et al., DAgger, arXiv 1011.0686) the loss is -log of the probability that all such tokens have
together, and, by a weight, the divergence among them from the explorer's shares: without it mass moves to what is easy
to write, with nothing else a model of this size learns little. An edit made before in the episode has no share.

The functions hold no bug and test runs answer at random, so nothing here says what mends anything.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from repodojo.agent.focus import Listing, retrieve
from repodojo.agent.loop import Played, play
from repodojo.agent.policy import ModelPolicy
from repodojo.agent.scripted.scripts import UNDO
from repodojo.agent.tools import default_tools
from repodojo.core.errors import SourceError
from repodojo.core.records import Turn
from repodojo.inference.chat import ChatFormat
from repodojo.inference.decoder import Decoder
from repodojo.inference.devices import has_bfloat16
from repodojo.inference.engine import Engine
from repodojo.train.pretrain import loop
from repodojo.train.pretrain.copying import Edits, Words
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.dataset import PLAY, STEP, Transcripts, batches, end_with_parent
from repodojo.train.pretrain.loop import Schedule
from repodojo.train.pretrain.objective import Objective, rows
from repodojo.train.pretrain.transcripts import OBSERVATION_CHARS, box_of, exercise

PART = 64  # episodes that one engine plays at once


@dataclass(frozen=True)
class Lesson:
    """An episode's tokens and the spots within its edits.

    ids [L]; at [S]: indices of spots; of each token that was right at one: its spot (index into at), itself, its
    share there [K]; tried, accepted: edits, and how many of them the editor took
    """

    ids: NDArray[np.int64]
    at: NDArray[np.int64]
    spot: NDArray[np.int64]
    token: NDArray[np.int64]
    share: NDArray[np.float32]
    tried: int
    accepted: int


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
    words = Words(chat)
    engine = Engine(model, max_context=PLAY.max_context, max_rows=PART)
    policy = ModelPolicy("base", engine, chat)
    tools = default_tools(OBSERVATION_CHARS)

    async def one(number: int, function: Function) -> Lesson | None:
        rng = random.Random(seed + number)
        task = exercise(function, rng)
        box = box_of(function, task, rng)
        played = await play(task, policy.actor(rng.randrange(1 << 62)), box, chat, tools=tools, limits=PLAY)
        box.files = dict(box.base)
        listing = await retrieve(box, task.focus)
        return lesson(played, listing, words) if listing else None

    made = await asyncio.gather(*(one(i, function) for i, function in enumerate(functions)))
    await engine.aclose()
    return [one for one in made if one is not None]


def lesson(played: Played, listing: Listing, words: Words) -> Lesson | None:
    """What an episode on the listing teaches; None where it tried no edit.

    Edits count that were made while none stood, for the listing is what they are copied from; those of malformed
    turns too, for a snippet without an end is why most of them are malformed.
    """
    notes = _Notes(Edits(listing, words))
    for turn in played.turns:
        notes.hear(turn.observation_ids)
        notes.judge(turn)
        notes.hear(turn.action_ids)
    return notes.lesson()


class _Notes:
    """A lesson in the making."""

    def __init__(self, edits: Edits) -> None:
        self.edits = edits
        self.ids: list[int] = []
        self.at: list[int] = []
        self.right: list[Mapping[int, float]] = []
        self.tried = self.accepted = 0
        self.standing = 0  # edits that were not undone

    def hear(self, ids: Sequence[int]) -> None:
        self.ids += ids

    def judge(self, turn: Turn) -> None:
        starts = self.edits.words.starts(turn.action_ids)
        if turn.format_error:
            for start, before in starts[:1]:
                self._look(turn.action_ids, start, self.standing - before.count(UNDO))
            return
        for call, result in zip(turn.calls, turn.results, strict=False):
            command = call.arguments.get("command") if call.name == "editor" else ""
            if command == "str_replace":
                self.tried += 1
                self.accepted += not result.error
                if starts:
                    self._look(turn.action_ids, starts.pop(0)[0], self.standing)
            self.standing += (command == "str_replace") - (command == "undo") if not result.error else 0

    def _look(self, ids: Sequence[int], start: int, standing: int) -> None:
        if standing > 0:
            return
        found = self.edits.spots(ids, start)
        self.at += [len(self.ids) + spot.at for spot in found]
        self.right += [spot.right for spot in found]
        self.edits.made(ids, start)

    def lesson(self) -> Lesson | None:
        if not self.at:
            return None
        ids = np.array(self.ids[: max(self.at) + 1])
        spot = np.array([number for number, right in enumerate(self.right) for _ in right])
        token = np.array([token for right in self.right for token in right])
        share = np.array([share for right in self.right for share in right.values()], np.float32)
        return Lesson(ids, np.array(self.at), spot, token, share, self.tried, self.accepted)


def train(
    decoder: Decoder,
    lessons: Sequence[Lesson],
    transcripts: Transcripts,
    schedule: Schedule,
    *,
    mixed: float,
    spread: float,
    seed: int,
    device: torch.device,
    on_step: Callable[[int, float], None],
) -> int:
    """Each lesson once, in place, beside as many tokens of `transcripts`; the steps done.

    mixed: weight of the transcripts' loss, which keeps what is not drilled: what is edited, and how
    spread: as of `loss`
    on_step: lessons done, and this step's loss
    """
    decoder.to(device).train()
    optimizers = loop.make_optimizers(decoder, schedule)
    reads = Objective(decoder, schedule.batch_tokens, device)
    chosen = batches(transcripts, tokens=schedule.batch_tokens, seed=seed)
    groups = list(shuffled(lessons, tokens=schedule.batch_tokens, seed=seed))
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
    for step, group in enumerate(groups):
        for optimizer, rate in zip(optimizers, (schedule.muon_rate, schedule.adam_rate), strict=True):
            optimizer.param_groups[0]["lr"] = rate * schedule.factor(step, len(groups))
        with autocast:
            wrong = loss(decoder, group, device, spread=spread, tokens=schedule.batch_tokens)
            read, _, _ = reads(transcripts, next(chosen))
        (wrong + mixed * read).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(optimizers[1].param_groups[0]["params"], 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        on_step(len(group), float(wrong.detach()))
    return len(groups)


def loss(
    decoder: Decoder, lessons: Sequence[Lesson], device: torch.device, *, spread: float, tokens: int = 0
) -> Tensor:
    """Mean over edits, summed over an edit's spots: -log P(right tokens) + spread KL(shares | P among right tokens).

    Empty rows are added up to `tokens`: kernels are prepared and kept for each shape that is met.
    """
    length = -(-max(len(one.ids) for one in lessons) // STEP) * STEP
    count = max(len(lessons), tokens // length)
    ids = torch.zeros(count, length, dtype=torch.long)
    for row, one in enumerate(lessons):
        ids[row, : len(one.ids)] = torch.from_numpy(one.ids)
    positions = torch.arange(length).repeat(count).to(device)
    hidden = decoder.hidden(ids.view(-1).to(device), positions, rows(count, length))
    spot_S = np.concatenate([row * length + one.at for row, one in enumerate(lessons)])
    first = np.cumsum([0, *(len(one.at) for one in lessons)])
    spots = [one.spot + at for one, at in zip(lessons, first, strict=False)]
    spot_K = torch.from_numpy(np.concatenate(spots)).to(device)
    token_K = torch.from_numpy(np.concatenate([one.token for one in lessons])).to(device)
    share_K = torch.from_numpy(np.concatenate([one.share for one in lessons])).to(device)
    log_S = decoder.logits(hidden[torch.from_numpy(spot_S - 1).to(device)]).float().log_softmax(-1)
    log_K = log_S[spot_K, token_K]
    right_S = torch.zeros(len(spot_S), device=device).index_add(0, spot_K, log_K.exp()).log()
    apart = (share_K * (share_K.log() - log_K)).sum() + right_S.sum()
    return (spread * apart - right_S.sum()) / max(sum(one.tried for one in lessons), 1)


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
