"""The stages between functions and a finished base. Each keeps what it made in a folder, and takes it from there."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch

from repodojo.agent.scripted import edits, lexer, scripts
from repodojo.agent.tools.base import numbered
from repodojo.inference import checkpoint
from repodojo.train.events import Watcher
from repodojo.train.pretrain import dataset, finish, loop, tokenizer, transcripts
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.initialise import initialise
from repodojo.train.pretrain.objective import can_compile
from repodojo.train.pretrain.settings import Machine, Settings, digest_of, key
from repodojo.train.pretrain.transplant import transplant

LARGEST_FLOAT32 = 16 << 20  # bytes: a larger base is saved in bfloat16, for what ships must stay small
WORTH_COMPILING = 4_000_000  # tokens: in fewer, the half-minute that compiling takes does not come back
TOKENS_A_TRANSCRIPT = 600  # fewer than the mean, so that a run does not read anything twice


@dataclass(frozen=True)
class Stages:
    """The stages of one base. `functions` are all that may be read, the first of them first."""

    settings: Settings
    machine: Machine
    watcher: Watcher
    functions: Sequence[Function]
    work: Path

    @cached_property
    def chosen(self) -> Sequence[Function]:
        """What is read before the learning rates fall."""
        tokens = self.settings.schedule.tokens
        return self.functions[: self.settings.functions or -(-tokens // TOKENS_A_TRANSCRIPT)]

    @cached_property
    def folder(self) -> Path:
        """Where everything is kept that depends on the functions chosen."""
        vocabulary = self.settings.architecture.vocabulary
        return self.work / key(self.settings.seed, vocabulary, [asdict(f) for f in self.chosen])

    def tokenizer(self) -> Path:
        """Trained on what transcripts hold: listings, instructions, outputs. Or that of the base it starts from."""
        path = self.folder / "tokenizer"
        if path.is_dir():
            return path
        start, size = self.settings.start, self.settings.architecture.vocabulary
        if start is not None and tokenizer.speaks(start, size):
            return start
        self.watcher.phase("tokenizer", 0)
        rng = random.Random(self.settings.seed)

        def texts() -> Iterator[str]:
            for function in self.chosen[:30000]:
                first = rng.randint(1, transcripts.LONGEST)
                yield "\n".join(map(numbered, itertools.count(first), function.code.split("\n")))
            yield from (transcripts.exercise(function, rng).instruction for function in self.chosen[:8000])
            for _ in self.chosen[:3000]:
                yield f"{rng.randint(1, 9)} passed\nedited line {rng.randint(1, 900)}\nundid the last edit\nrepro"

        partial = self.folder / f"tokenizer.partial-{os.getpid()}"
        tokenizer.save(tokenizer.train(texts(), self.settings.architecture.vocabulary), partial)
        partial.rename(path)
        return path

    def transcripts(self, words: Path) -> dataset.Transcripts:
        """One of each function chosen, without a fault."""
        return self._played("transcripts", f"transcripts-{_explorer()}", self.chosen, words)

    def late(self, words: Path) -> dataset.Transcripts:
        """Transcripts with faults, of functions that were not read yet as far as there are such."""
        schedule, faults = self.settings.schedule, self.settings.faults
        count = -(-int(schedule.tokens * schedule.decay) // TOKENS_A_TRANSCRIPT)
        some = self._unread(0, count)
        name = f"late-{key(_explorer(), faults, [asdict(f) for f in some])}"
        return self._played("transcripts with faults", name, some, words, late=True)

    def _played(
        self, phase: str, name: str, functions: Sequence[Function], words: Path, *, late: bool = False
    ) -> dataset.Transcripts:
        cache = self.folder / name
        cache.mkdir(parents=True, exist_ok=True)
        self.watcher.phase(phase, len(functions))
        return dataset.make(
            functions,
            words,
            seed=self.settings.seed + late,
            workers=self.machine.workers,
            on_part=self.watcher.advance,
            cache=cache,
            faults=self.settings.faults if late else 0.0,
        )

    def _unread(self, first: int, count: int) -> Sequence[Function]:
        """`count` functions from the `first` on that follows those chosen; from the start where none is left."""
        start = (len(self.chosen) + first) % len(self.functions)
        return [*self.functions[start:], *self.functions[:start]][:count]

    def train(self, data: dataset.Transcripts, late: dataset.Transcripts, words: Path, out: Path) -> tuple[int, str]:
        """Train, or take up training, and write the model folder; steps and dtype."""
        decoder = initialise(self.settings.architecture, self.settings.seed)
        if self.settings.start is not None:
            transplant(decoder, words, self.settings.start)
        progress = Steps(self.watcher)
        steps = loop.train(
            decoder,
            data,
            self.settings.schedule,
            late=late,
            seed=self.settings.seed,
            device=self.machine.device,
            on_progress=progress.moved,
            on_start=progress.started,
            saved=self.folder / f"{self._state()}.pt",
            every=self.machine.every,
            decay_now=self.machine.decay_now,
            compiled=self.settings.schedule.tokens >= WORTH_COMPILING and can_compile(self.machine.device),
        )
        dtype = torch.float32 if 4 * self.settings.architecture.parameters() <= LARGEST_FLOAT32 else torch.bfloat16
        checkpoint.save(decoder.cpu(), out, tokenizer=words, dtype=dtype)
        return steps, str(dtype).removeprefix("torch.")

    def _state(self) -> str:
        """The name of what training keeps."""
        settings = self.settings
        made_of = [asdict(settings.architecture), asdict(settings.schedule), settings.faults, _explorer()]
        if settings.start is not None:
            made_of.append(hashlib.sha256((settings.start / "model.safetensors").read_bytes()).hexdigest())
        return key(*made_of)

    def finish(self, out: Path, late: dataset.Transcripts, steps: int) -> None:
        """Rounds of drill, then sharpness, in the model folder `out`, which `steps` of training have made."""
        settings = self.settings.finish
        for number in range(settings.rounds):
            # More rounds go on from those that were made.
            made_of = settings.episodes, settings.mixed, settings.spread, settings.rate
            kept = self.folder / f"drill-{key(self._state(), steps, *made_of, number)}"
            if not kept.is_dir():
                self._drill(out, late, number, kept)
            shutil.copytree(kept, out, dirs_exist_ok=True)
        if settings.sharpness != 1.0:
            finish.sharpen(out, settings.sharpness)

    def _drill(self, model: Path, late: dataset.Transcripts, number: int, kept: Path) -> None:
        settings = self.settings.finish
        self.watcher.phase(f"drill, round {number + 1} of {settings.rounds}", 2 * settings.episodes)
        read = len(late) + number * settings.episodes
        finish.drilled(
            model,
            kept,
            self._unread(read, settings.episodes),
            late,
            settings,
            self.settings.schedule,
            seed=self.settings.seed * 101 + number,
            workers=self.machine.workers,
            device=self.machine.device,
            on_progress=self.watcher.advance,
        )


class Steps:
    """Training as a watcher sees it."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher, self.at = watcher, 0

    def started(self, step: int, steps: int) -> None:
        self.at = step
        self.watcher.phase(f"training, from step {step}" if step else "training", steps - step)

    def moved(self, progress: loop.Progress) -> None:
        note = f"loss {progress.loss:.3f}, on actions {progress.action_loss:.3f}, {progress.tokens_per_second:,.0f}/s"
        self.watcher.advance(progress.step - self.at, note)
        self.at = progress.step


def _explorer() -> str:
    return digest_of(edits, lexer, scripts, transcripts)
