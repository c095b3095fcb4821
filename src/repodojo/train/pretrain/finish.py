"""After training: a round of practice, then a sharper output. Both change how the base writes, not what it knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from repodojo.inference import checkpoint
from repodojo.train.pretrain import loop, practice
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.dataset import Transcripts


@dataclass(frozen=True)
class Finish:
    """How the base is finished; 0 episodes means no practice, sharpness 1 leaves the output as it is.

    episodes: of each of the `rounds`, each round on functions of its own and by what the one before has made
    mixed: tokens of the explorer's transcripts for each token of practice, so that variety is not forgotten
    rate: share of training's learning rates
    sharpness: what the final norm is multiplied with, which is sampling at temperature 1 / sharpness for ever
    """

    episodes: int = 0
    rounds: int = 1
    temperature: float = 0.7
    mixed: float = 0.4
    rate: float = 0.25
    sharpness: float = 1.0


def practise(
    model: Path,
    functions: Sequence[Function],
    transcripts: Transcripts,
    finish: Finish,
    schedule: loop.Schedule,
    *,
    number: int,
    seed: int,
    workers: int,
    device: torch.device,
    on_part: Callable[[int], None],
    on_progress: Callable[[loop.Progress], None],
) -> int:
    """Round `number` of practice, in place, in the folder `model`; returns the optimiser steps taken."""
    seed = seed * 101 + number
    first = number * finish.episodes % max(len(functions), 1)
    accepted = practice.sample(
        model,
        [*functions[first:], *functions[:first]][: finish.episodes],
        seed=seed,
        workers=workers,
        temperature=finish.temperature,
        on_part=on_part,
    )
    data = together(accepted, head(transcripts, int(len(accepted.ids) * finish.mixed)))
    decoder = checkpoint.load(model)
    gentle = loop.Schedule(
        len(data.ids),
        schedule.batch_tokens,
        schedule.muon_rate * finish.rate,
        schedule.adam_rate * finish.rate,
        warmup=10,
        decay=0.99,
    )
    steps = loop.train(decoder, data, gentle, seed=seed, device=device, on_progress=on_progress)
    checkpoint.save(decoder.cpu(), model, tokenizer=model)
    return steps


def sharpen(model: Path, by: float) -> None:
    """Scale the logits by `by`, in place: the final norm's weight is all that has to change."""
    decoder = checkpoint.load(model)
    with torch.no_grad():
        decoder.model.norm.weight.mul_(by)
    checkpoint.save(decoder, model, tokenizer=model)


def head(data: Transcripts, tokens: int) -> Transcripts:
    """The first transcripts, about `tokens` tokens of them."""
    count = int(np.searchsorted(data.starts, tokens))
    end = data.starts[min(count, len(data))]
    return Transcripts(data.ids[:end], data.weight[:end], data.starts[: count + 1])


def together(one: Transcripts, other: Transcripts) -> Transcripts:
    """Both, end to end."""
    starts = np.concatenate([one.starts, other.starts[1:] + one.starts[-1]])
    return Transcripts(np.concatenate([one.ids, other.ids]), np.concatenate([one.weight, other.weight]), starts)
