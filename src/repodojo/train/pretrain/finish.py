"""After training: rounds of drill, then a sharper output. Both change how the base writes, not what it knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from repodojo.inference import checkpoint
from repodojo.train.pretrain import drill, loop
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.dataset import Transcripts


@dataclass(frozen=True)
class Finish:
    """How the base is finished; 0 rounds mean no drill, sharpness 1 leaves the output as it is.

    episodes: of each of the `rounds`, each round on functions of its own and by what the one before has made
    mixed: weight of the explorer's transcripts beside the drill, so that the rest is not forgotten
    spread: weight of the divergence from the explorer's shares, beside the loss on what the editor refuses
    rate: share of training's learning rates
    sharpness: what the final norm is multiplied with, which is sampling at temperature 1 / sharpness for ever
    """

    episodes: int = 1200
    rounds: int = 0
    mixed: float = 0.5
    spread: float = 0.25
    rate: float = 0.35
    sharpness: float = 1.0


def drilled(
    model: Path,
    out: Path,
    functions: Sequence[Function],
    transcripts: Transcripts,
    finish: Finish,
    schedule: loop.Schedule,
    *,
    seed: int,
    workers: int,
    device: torch.device,
    on_progress: Callable[[int, str], None],
) -> None:
    """One round: `model` plays an episode a function, learns from them, and is written to `out`."""
    lessons = drill.sample(
        model, functions, seed=seed, workers=workers, on_part=lambda done: on_progress(done, "playing")
    )
    accepted = sum(one.accepted for one in lessons) / max(sum(one.tried for one in lessons), 1)
    decoder = checkpoint.load(model)
    gentle = loop.Schedule(
        schedule.tokens,
        schedule.batch_tokens // 2,  # a step reads as much again of the transcripts
        schedule.muon_rate * finish.rate,
        schedule.adam_rate * finish.rate,
        warmup=10,
        decay=0.99,
    )
    drill.train(
        decoder,
        lessons,
        transcripts,
        gentle,
        mixed=finish.mixed,
        spread=finish.spread,
        seed=seed,
        device=device,
        on_step=lambda done, wrong: on_progress(done, f"{accepted:.1%} of edits accepted; loss of an edit {wrong:.3f}"),
    )
    checkpoint.save(decoder.cpu(), out, tokenizer=model)


def sharpen(model: Path, by: float) -> None:
    """Scale the logits by `by`, in place: the final norm's weight is all that has to change."""
    decoder = checkpoint.load(model)
    with torch.no_grad():
        decoder.model.norm.weight.mul_(by)
    checkpoint.save(decoder, model, tokenizer=model)
