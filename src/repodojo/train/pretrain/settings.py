"""What decides a base, what machine makes it, and what came of it."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import torch

from repodojo import __version__
from repodojo.inference.architecture import Architecture
from repodojo.train import splits
from repodojo.train.pretrain import gate, loop
from repodojo.train.pretrain.finish import Finish
from repodojo.train.pretrain.sources import Package

BASE = Architecture("qwen3", 2048, 256, 704, 4, 4, 2, 64, max_positions=4096, rope_theta=1e6)


@dataclass(frozen=True)
class Settings:
    """What decides the weights, besides the machine.

    functions: how many are read at most; 0 for as many as `schedule.tokens` needs to read each once
    faults: share of edits that the editor refuses, in what is read while the learning rates fall: the base has to know
        how to go on after an error, and would make more of them if it read such things from the start
    excluded: packages whose code must not be read, whoever copied it
    held: share of the functions that the gate plays on
    start: folder of a base to go on from; None to begin with nothing
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
    start: Path | None = None


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


def key(*parts: object) -> str:
    """A short digest of what can be written as JSON, and of this version."""
    return hashlib.sha256(json.dumps([__version__, *parts], sort_keys=True).encode()).hexdigest()[:16]


def digest_of(*modules: ModuleType) -> str:
    """A digest of the code of what writes transcripts: where it changed, what was kept is of another explorer."""
    return key([ast.dump(ast.parse(inspect.getsource(module))) for module in modules])
