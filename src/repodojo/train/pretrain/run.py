"""From a list of packages to a base: sources, functions, tokenizer, transcripts, training, gate, model folder.

Each stage keeps what it made in the work folder under a digest of all that it depends on. So a command that was
killed, or is given again, goes on from what is there, and a changed setting makes anew only what it touches.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from repodojo.core.errors import ConfigError, SourceError
from repodojo.inference import checkpoint
from repodojo.train.events import Watcher
from repodojo.train.files import Lock
from repodojo.train.pretrain import card, corpus, gate, sources
from repodojo.train.pretrain.corpus import Corpus, Function
from repodojo.train.pretrain.settings import Machine, Result, Settings, key
from repodojo.train.pretrain.sources import Package
from repodojo.train.pretrain.stages import Stages


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
        stages = Stages(settings, machine, watcher, read.train, work)
        words = stages.tokenizer()
        data, late = stages.transcripts(words), stages.late(words)
        steps, dtype = stages.train(data, late, words, out)
        stages.finish(out, late, steps)
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
        functions=len(stages.chosen),
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
    kept = cache / f"{key(package.requirement, package.digest)}.json"
    if not kept.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        found = [asdict(function) for function in corpus.functions(Path(package.root))]
        partial = kept.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(found))
        os.replace(partial, kept)
    yield from (Function(**row) for row in json.loads(kept.read_text()))


def _refuse(settings: Settings, out: Path) -> None:
    sources.refuse_measured(settings.requirements)
    if settings.schedule.tokens < 1 or settings.functions < 0 or not 0 < settings.held < 1:
        raise ConfigError("tokens must be at least 1, functions at least 0, the share held out between 0 and 1")
    if settings.start is not None:
        checkpoint.architecture(settings.start)  # refuse what is no model before anything is fetched
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "config.json").is_file())):
        raise ConfigError(f"{out} holds something else than a model", way_out="name a new folder")
