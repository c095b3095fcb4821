"""From a list of packages to a base: sources, functions, tokenizer, transcripts, training, gate, model folder.

Each stage keeps what it made in the work folder under a digest of all that it depends on. So a command that was
killed, or is given again, goes on from what is there, and a changed setting makes anew only what it touches.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path

import torch

from repodojo import __version__
from repodojo.agent.scripted import edits, lexer, scripts
from repodojo.core.errors import ConfigError, SourceError
from repodojo.inference import checkpoint
from repodojo.inference.architecture import Architecture
from repodojo.train import splits
from repodojo.train.events import Watcher
from repodojo.train.files import Lock
from repodojo.train.pretrain import card, corpus, dataset, gate, loop, sources, tokenizer, transcripts
from repodojo.train.pretrain.corpus import Corpus, Function
from repodojo.train.pretrain.finish import Finish, practise, sharpen
from repodojo.train.pretrain.initialise import initialise
from repodojo.train.pretrain.objective import can_compile
from repodojo.train.pretrain.sources import Package

BASE = Architecture("qwen3", 2048, 256, 704, 4, 4, 2, 64, max_positions=4096, rope_theta=1e6)
LARGEST_FLOAT32 = 16 << 20  # bytes: a larger base is saved in bfloat16, for what ships must stay small
WORTH_COMPILING = 4_000_000  # tokens: in fewer, the half-minute that compiling takes does not come back
TOKENS_A_TRANSCRIPT = 600  # fewer than the mean, so that a run does not read anything twice


@dataclass(frozen=True)
class Settings:
    """What decides the weights, besides the machine.

    functions: how many are read at most; 0 for as many as `schedule.tokens` needs to read each once
    faults: share of edits that the editor refuses, in what is read while the learning rates fall: the base has to know
        how to go on after an error, and would make more of them if it read such things from the start
    excluded: packages whose code must not be read, whoever copied it
    held: share of the functions that the gate plays on
    """

    requirements: tuple[str, ...]
    schedule: loop.Schedule = field(default_factory=lambda: loop.Schedule(20_000_000))
    functions: int = 0
    faults: float = 0.25
    seed: int = 0
    excluded: tuple[str, ...] = (*splits.DEV, *splits.HELD_OUT)
    architecture: Architecture = BASE
    held: float = 0.004
    episodes: int = 200
    finish: Finish = field(default_factory=Finish)


@dataclass(frozen=True)
class Machine:
    """How it is made, which changes speed, never what is read: workers play, `every` seconds the state is kept."""

    device: torch.device
    workers: int = 1
    every: float = 60.0
    decay_now: bool = False


@dataclass(frozen=True)
class Result:
    """What was made of what. `missed` are packages that could not be fetched, with the reason."""

    out: Path
    packages: tuple[Package, ...]
    missed: tuple[tuple[str, str], ...]
    functions: int
    removed: int
    transcript_tokens: int
    tokens: int
    dtype: str
    gate: gate.Gate


def packaged_list() -> Path:
    """The list that the shipped base was made from."""
    return Path(str(files("repodojo") / "train" / "pretrain" / "packages.txt"))


def run(settings: Settings, out: Path, work: Path, machine: Machine, watcher: Watcher) -> Result:
    """Make a base in the folder `out`. UserErrors say what to change; the gate's verdict is in the result."""
    _refuse(settings, out)
    work.mkdir(parents=True, exist_ok=True)
    lock = Lock(work / "lock")
    try:
        packages, missed, read = gather(settings, work, watcher)
        chosen = read.train[: settings.functions or -(-settings.schedule.tokens // TOKENS_A_TRANSCRIPT)]
        folder = work / _key(settings.seed, settings.architecture.vocabulary, [asdict(f) for f in chosen])
        words = _tokenizer(chosen, folder, settings, watcher)
        data = _transcripts(chosen, folder, words, settings, machine, watcher)
        late = _late(read.train, len(chosen), folder, words, settings, machine, watcher)
        steps, dtype = _train(data, late, folder, words, out, settings, machine, watcher)
        steps += _finish(out, chosen, late, settings, machine, watcher)
        watcher.phase("gate", settings.episodes)
        figures = gate.measure(
            out, read.held, episodes=settings.episodes, seed=settings.seed, on_episode=watcher.advance
        )
    finally:
        lock.release()
    result = Result(
        out=out,
        packages=tuple(packages),
        missed=tuple(missed),
        functions=len(chosen),
        removed=read.removed,
        transcript_tokens=len(data.ids),
        tokens=steps * settings.schedule.batch_tokens,
        dtype=dtype,
        gate=figures,
    )
    (out / "README.md").write_text(card.text(result, settings))
    return result


def check(model: Path, settings: Settings, work: Path, watcher: Watcher) -> gate.Gate:
    """The gate alone, on the functions that `run` would hold out."""
    sources.refuse_measured(settings.requirements)
    checkpoint.architecture(model)  # refuse what is no model before anything is fetched
    work.mkdir(parents=True, exist_ok=True)
    _, _, read = gather(settings, work, watcher)
    watcher.phase("gate", settings.episodes)
    return gate.measure(model, read.held, episodes=settings.episodes, seed=settings.seed, on_episode=watcher.advance)


def gather(settings: Settings, work: Path, watcher: Watcher) -> tuple[list[Package], list[tuple[str, str]], Corpus]:
    """Fetch and read all sources. SourceError where none can be had; packages that cannot are listed."""
    packages, missed = sources.fetch_all(settings.requirements, work / "sources", watcher)
    if not packages:
        raise SourceError(f"no package could be fetched: {missed[0][1]}", way_out="check the network, or give folders")
    excluded, unseen = sources.fetch_all(settings.excluded, work / "excluded", watcher)
    missed += [(name, f"its code could not be kept out by content: {reason}") for name, reason in unseen]
    watcher.phase("functions", len(packages) + len(excluded))

    def read(some: Sequence[Package]) -> Iterator[Function]:
        for package in some:
            yield from _functions(package, work / "functions")
            watcher.advance(note=package.requirement)

    return (
        packages,
        missed,
        corpus.divide(read(packages), excluded=read(excluded), held=settings.held, seed=settings.seed),
    )


def _functions(package: Package, cache: Path) -> Iterator[Function]:
    kept = cache / f"{_key(package.requirement, package.digest)}.json"
    if not kept.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        found = [asdict(function) for function in corpus.functions(Path(package.root))]
        partial = kept.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(found))
        os.replace(partial, kept)
    yield from (Function(**row) for row in json.loads(kept.read_text()))


def _tokenizer(chosen: Sequence[Function], folder: Path, settings: Settings, watcher: Watcher) -> Path:
    """Trained on what transcripts hold: listings, instructions, small outputs."""
    path = folder / "tokenizer"
    if path.is_dir():
        return path
    watcher.phase("tokenizer", 0)
    rng = random.Random(settings.seed)

    def texts() -> Iterator[str]:
        yield from (function.code for function in chosen[:30000])
        yield from (transcripts.exercise(function, rng).instruction for function in chosen[:8000])
        for _ in chosen[:3000]:
            yield f"{rng.randint(1, 9)} passed\nedited line {rng.randint(1, 900)}\nundid the last edit\nrepro"

    partial = folder / f"tokenizer.partial-{os.getpid()}"
    tokenizer.save(tokenizer.train(texts(), settings.architecture.vocabulary), partial)
    partial.rename(path)
    return path


def _transcripts(
    chosen: Sequence[Function], folder: Path, words: Path, settings: Settings, machine: Machine, watcher: Watcher
) -> dataset.Transcripts:
    cache = folder / f"transcripts-{_explorer()}"
    cache.mkdir(exist_ok=True)
    watcher.phase("transcripts", len(chosen))
    return dataset.make(
        chosen, words, seed=settings.seed, workers=machine.workers, on_part=watcher.advance, cache=cache
    )


def _late(
    functions: Sequence[Function],
    read: int,
    folder: Path,
    words: Path,
    settings: Settings,
    machine: Machine,
    watcher: Watcher,
) -> dataset.Transcripts:
    """Transcripts with faults, of functions that were not read yet as far as there are such."""
    count = -(-int(settings.schedule.tokens * settings.schedule.decay) // TOKENS_A_TRANSCRIPT)
    chosen = [*functions[read:], *functions[:read]][:count]
    cache = folder / f"late-{_key(_explorer(), settings.faults, [asdict(f) for f in chosen])}"
    cache.mkdir(exist_ok=True)
    watcher.phase("transcripts with faults", len(chosen))
    return dataset.make(
        chosen,
        words,
        seed=settings.seed + 1,
        workers=machine.workers,
        on_part=watcher.advance,
        cache=cache,
        faults=settings.faults,
    )


def _finish(
    out: Path,
    chosen: Sequence[Function],
    data: dataset.Transcripts,
    settings: Settings,
    machine: Machine,
    watcher: Watcher,
) -> int:
    """Practice and sharpness, as asked; the optimiser steps that took."""
    steps = 0
    rounds = settings.finish.rounds if settings.finish.episodes else 0
    for number in range(rounds):
        watcher.phase(f"practice, round {number + 1} of {rounds}", settings.finish.episodes)
        steps += practise(
            out,
            chosen,
            data,
            settings.finish,
            settings.schedule,
            number=number,
            seed=settings.seed,
            workers=machine.workers,
            device=machine.device,
            on_part=watcher.advance,
            on_progress=lambda progress: watcher.advance(0, f"loss on actions {progress.action_loss:.3f}"),
        )
    if settings.finish.sharpness != 1.0:
        sharpen(out, settings.finish.sharpness)
    return steps


def _train(
    data: dataset.Transcripts,
    late: dataset.Transcripts,
    folder: Path,
    words: Path,
    out: Path,
    settings: Settings,
    machine: Machine,
    watcher: Watcher,
) -> tuple[int, str]:
    """Train, or take up training, and write the model folder; steps and dtype."""
    decoder = initialise(settings.architecture, settings.seed)
    state = _key(asdict(settings.architecture), asdict(settings.schedule), settings.faults, _explorer())
    at = [0]

    def started(step: int, steps: int) -> None:
        at[0] = step
        watcher.phase(f"training, from step {step}" if step else "training", steps - step)

    def moved(progress: loop.Progress) -> None:
        note = f"loss {progress.loss:.3f}, on actions {progress.action_loss:.3f}, {progress.tokens_per_second:,.0f}/s"
        watcher.advance(progress.step - at[0], note)
        at[0] = progress.step

    steps = loop.train(
        decoder,
        data,
        settings.schedule,
        late=late,
        seed=settings.seed,
        device=machine.device,
        on_progress=moved,
        on_start=started,
        saved=folder / f"{state}.pt",
        every=machine.every,
        decay_now=machine.decay_now,
        compiled=settings.schedule.tokens >= WORTH_COMPILING and can_compile(machine.device),
    )
    dtype = torch.float32 if 4 * settings.architecture.parameters() <= LARGEST_FLOAT32 else torch.bfloat16
    checkpoint.save(decoder.cpu(), out, tokenizer=words, dtype=dtype)
    return steps, str(dtype).removeprefix("torch.")


def _refuse(settings: Settings, out: Path) -> None:
    sources.refuse_measured(settings.requirements)
    if settings.schedule.tokens < 1 or settings.functions < 0 or not 0 < settings.held < 1:
        raise ConfigError("tokens must be at least 1, functions at least 0, the share held out between 0 and 1")
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "config.json").is_file())):
        raise ConfigError(f"{out} holds something else than a model", way_out="name a new folder")


def _explorer() -> str:
    """A digest of the code that writes transcripts: where it changed, what was kept is of another explorer."""
    return _key([inspect.getsource(module) for module in (edits, lexer, scripts, transcripts)])


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps([__version__, *parts], sort_keys=True).encode()).hexdigest()[:16]
