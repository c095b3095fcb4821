"""From functions to a base that speaks mini-swe-agent's format: words, transcripts, training, gate.

It goes on from a base that speaks the built-in agent's format: that has learnt to copy and to edit, and only the form
is new. Each stage keeps what it made in the work folder, as `repodojo pretrain` does, whose sources, loss and training
these are; a command that was killed goes on from there.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from repodojo.agent.scripted import edits, lexer, scripts
from repodojo.core.errors import ConfigError, SourceError
from repodojo.core.protocols import SamplingParams
from repodojo.inference import checkpoint
from repodojo.inference.chat import ChatFormat
from repodojo.inference.decoder import Decoder
from repodojo.inference.engine import Engine
from repodojo.train.events import Watcher
from repodojo.train.files import Lock
from repodojo.train.minibase import card, episodes, explorer, helper, prompts
from repodojo.train.minibase.prompts import END, FENCE, Prompts
from repodojo.train.pretrain import loop, run, tokenizer, transcripts
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.dataset import OPENING, Transcripts
from repodojo.train.pretrain.gate import Share
from repodojo.train.pretrain.settings import Machine, Settings, digest_of, key
from repodojo.train.pretrain.stages import Steps
from repodojo.train.pretrain.transplant import transplant
from repodojo.train.setup import base_path

TURNS, CONTEXT, ANSWER = 8, 1024, 96  # of an episode: answers, tokens in all, tokens an answer
TOKENS_AN_EPISODE = 500
FAULTS = 0.1  # share of the explorer's answers that achieve nothing
PART = 500  # episodes between two looks at the clock, and a file


@dataclass(frozen=True)
class Figures:
    """What the base's own episodes showed, at temperature 1 on functions that it never read."""

    formed: Share
    listed: Share
    changed: Share
    submits: Share

    def rows(self) -> list[tuple[str, Share]]:
        """Figures by name."""
        return [
            ("answers with one known command", self.formed),
            ("episodes that list the definition", self.listed),
            ("edits that change their line", self.changed),
            ("episodes that end by submitting", self.submits),
        ]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {n: {"rate": s.rate, "interval": s.interval, "hits": s.hits, "of": s.of} for n, s in self.rows()}


@dataclass(frozen=True)
class Made:
    """The base in `out`, and what it was made of."""

    out: Path
    functions: int
    tokens: int
    figures: Figures


def make(settings: Settings, prompts: Prompts, out: Path, work: Path, machine: Machine, watcher: Watcher) -> Made:
    """Make a base in the folder `out`, with its card, from `settings.start` (None: the base that ships).

    UserErrors say what to change.
    """
    start = settings.start or base_path()
    checkpoint.architecture(start)  # refuse what is no model before anything is fetched
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "config.json").is_file())):
        raise ConfigError(f"{out} holds something else than a model", way_out="name a new folder")
    work.mkdir(parents=True, exist_ok=True)
    lock = Lock(work / "lock")
    try:
        packages, _, read = run.gather(settings, work, watcher)
        count = settings.functions or -(-settings.schedule.tokens // TOKENS_AN_EPISODE)
        stages = Stages(settings, prompts, watcher, read.train[:count], work, start)
        words = stages.words()
        data = stages.transcripts(words)
        steps = stages.train(data, words, out, machine)
        figures = stages.gate(out, read.held)
    finally:
        lock.release()
    made = Made(out, len(stages.functions), steps * settings.schedule.batch_tokens, figures)
    (out / "README.md").write_text(card.text(settings, packages, made.functions, figures.rows()))
    return made


@dataclass(frozen=True)
class Stages:
    """The stages of one base; `functions` are those that it reads."""

    settings: Settings
    prompts: Prompts
    watcher: Watcher
    functions: Sequence[Function]
    work: Path
    start: Path

    @cached_property
    def folder(self) -> Path:
        digest = hashlib.sha256((self.start / "model.safetensors").read_bytes()).hexdigest()
        code = digest_of(episodes, explorer, helper, prompts, edits, lexer, scripts, transcripts)
        how = [FAULTS, TURNS, CONTEXT, OPENING, code]
        parts = [asdict(self.prompts), *how, [asdict(f) for f in self.functions]]
        return self.work / key("mini", self.settings.seed, digest, *parts)

    def words(self) -> Path:
        """The tokenizer's folder: that of the start, with a token for each piece that every episode repeats."""
        path = self.folder / "tokenizer"
        if not path.is_dir():
            made = ChatFormat.load(self.start).tokenizer
            made.add_tokens(added([*self.prompts.fixed(), *explorer.HEADS, FENCE, END]))
            partial = self.folder / f"tokenizer.partial-{os.getpid()}"
            tokenizer.save(made, partial)
            partial.rename(path)
        return path

    def transcripts(self, words: Path) -> Transcripts:
        """An episode of the explorer for each function."""
        chat = ChatFormat.load(words)
        pairs = _pairs(self.functions)
        self.watcher.phase("transcripts", len(pairs))
        parts = []
        for first in range(0, len(pairs), PART):
            kept = self.folder / f"{first // PART:05}.npz"
            if not kept.is_file():
                _save(kept, asyncio.run(self._played(pairs[first : first + PART], first, chat)))
            with np.load(kept) as found:
                parts.append(Transcripts(found["ids"], found["weight"], found["starts"]))
            self.watcher.advance(len(pairs[first : first + PART]))
        starts = np.concatenate([[0], np.cumsum(np.concatenate([part.lengths() for part in parts]))])
        return Transcripts(np.concatenate([p.ids for p in parts]), np.concatenate([p.weight for p in parts]), starts)

    async def _played(self, pairs: Sequence[tuple[Function, Function]], first: int, chat: ChatFormat) -> Transcripts:
        ids: list[int] = []
        weight: list[float] = []
        starts = [0]
        for number, (one, after) in enumerate(pairs, first):
            rng = random.Random(self.settings.seed * 1_000_003 + number)
            given = episodes.exercise(one, after, self.prompts, rng)
            answers = episodes.explorer_answers(given, chat, rng, FAULTS)
            spoken = await episodes.speak(given, self.prompts, chat, answers, turns=TURNS, context=CONTEXT)
            ids += spoken.ids()
            weight += spoken.weights(OPENING)
            starts.append(len(ids))
        return Transcripts(np.array(ids, np.uint16), np.array(weight, np.float32), np.array(starts, np.int64))

    def train(self, data: Transcripts, words: Path, out: Path, machine: Machine) -> int:
        """Train, or take up training, and write the model folder; the steps done."""
        decoder = self.begun(words)
        progress = Steps(self.watcher)
        state = key(asdict(decoder.architecture), asdict(self.settings.schedule))
        steps = loop.train(
            decoder,
            data,
            self.settings.schedule,
            seed=self.settings.seed,
            device=machine.device,
            on_progress=progress.moved,
            on_start=progress.started,
            saved=self.folder / f"{state}.pt",
            every=machine.every,
            decay_now=machine.decay_now,
        )
        checkpoint.save(decoder.cpu(), out, tokenizer=words)
        return steps

    def begun(self, words: Path) -> Decoder:
        """The start, with rows for the tokens that are new to it; some begin as what they mean to it."""
        given = checkpoint.architecture(self.start)
        decoder = Decoder(replace(given, vocabulary=len(ChatFormat.load(words).tokenizer)))
        transplant(decoder, words, self.start, explorer.ALIKE)
        return decoder

    def gate(self, model: Path, held: Sequence[Function]) -> Figures:
        """The base's own episodes on functions that it never read. SourceError where there is none."""
        if not held:
            raise SourceError("no function is held out to play on", way_out="give more sources")
        self.watcher.phase("gate", self.settings.episodes)
        return judge(asyncio.run(self._gate(model, _pairs(held))))

    async def _gate(self, model: Path, pairs: Sequence[tuple[Function, Function]]) -> list[episodes.Spoken]:
        chat = ChatFormat.load(model)
        engine = Engine(model, max_context=CONTEXT + ANSWER, max_rows=32, seed=self.settings.seed)
        params = SamplingParams(1.0, ANSWER, chat.stop_ids)

        async def one(number: int) -> episodes.Spoken:
            rng = random.Random(self.settings.seed * 7_368_787 + number)
            given = episodes.exercise(*pairs[number % len(pairs)], self.prompts, rng)

            async def answer(ids: list[int], _heard: str) -> list[int]:
                done = await engine.generate(ids, params, seed=number * 101 + len(ids), session=f"gate-{number}")
                return list(done.token_ids)

            spoken = await episodes.speak(given, self.prompts, chat, answer, turns=TURNS, context=CONTEXT)
            engine.release(f"gate-{number}")
            self.watcher.advance(1)
            return spoken

        try:
            return await asyncio.gather(*(one(number) for number in range(self.settings.episodes)))
        finally:
            await engine.aclose()


def judge(spoken: Sequence[episodes.Spoken]) -> Figures:
    """The figures of episodes."""
    rooms = [one.room for one in spoken if one.room is not None]
    return Figures(
        Share(sum(one.formed for one in spoken), sum(len(one.turns) for one in spoken)),
        Share(sum(room.listed for room in rooms), len(spoken)),
        Share(sum(room.changed for room in rooms), sum(room.tried for room in rooms)),
        Share(sum(one.submitted for one in spoken), len(spoken)),
    )


def _pairs(functions: Sequence[Function]) -> list[tuple[Function, Function]]:
    """Each function with another that follows it in its file."""
    return list(zip(functions, [*functions[1:], *functions[:1]], strict=True))


def added(pieces: Sequence[str]) -> list[object]:
    """As tokens that stand for themselves, each once."""
    from tokenizers import AddedToken

    return [AddedToken(text, normalized=False) for text in dict.fromkeys(pieces)]


def _save(path: Path, made: Transcripts) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, ids=made.ids, weight=made.weight, starts=made.starts)
    os.replace(partial, path)
