"""A whole pretraining of seconds, made to be killed: `python pretrain_child.py SOURCES OUT WORK`; a line a step."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from repodojo.inference.architecture import Architecture
from repodojo.train.events import Silent
from repodojo.train.pretrain.loop import Schedule
from repodojo.train.pretrain.run import run
from repodojo.train.pretrain.settings import Machine, Result, Settings

TINY = Architecture("qwen3", 640, hidden=32, intermediate=64, layers=2, heads=2, kv_heads=1, head_dim=16)


class Lines(Silent):
    def phase(self, name: str, total: int) -> None:
        print("phase", name, total, flush=True)

    def advance(self, done: int = 1, note: str = "") -> None:
        if note.startswith("loss"):
            print("at", done, flush=True)


def settings(packages: Path, **changed: object) -> Settings:
    """Few tokens, two layers, nothing from the network."""
    schedule = Schedule(tokens=30 * 2048, batch_tokens=2048, warmup=4)
    given = {"schedule": schedule, "excluded": (), "architecture": TINY, "held": 0.1, "episodes": 6, **changed}
    return Settings((str(packages),), **given)  # type: ignore[arg-type]


def make(packages: Path, out: Path, work: Path, **changed: object) -> Result:
    torch.set_num_threads(1)
    return run(settings(packages, **changed), out, work, Machine(torch.device("cpu"), every=0), Lines())


if __name__ == "__main__":
    make(*(Path(word) for word in sys.argv[1:]))
