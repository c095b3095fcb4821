"""The training of the base: next-token loss on code and on the explorer's own tokens, nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from repodojo.inference.decoder import Decoder
from repodojo.inference.devices import has_bfloat16
from repodojo.learner.muon import Muon
from repodojo.train.pretrain import resume
from repodojo.train.pretrain.dataset import Transcripts, batches
from repodojo.train.pretrain.objective import Objective


@dataclass(frozen=True)
class Schedule:
    """Learning rates (Muon for hidden matrices, AdamW for the rest): warm-up, constant, then a straight line to 0.

    What is done before the decay does not depend on the length, so a run can be cut short by starting its decay
    (Haegele et al., arXiv 2405.18392). `decay` is that last share of the steps.
    """

    tokens: int
    batch_tokens: int = 16384
    muon_rate: float = 0.003
    adam_rate: float = 4e-3
    warmup: int = 20
    decay: float = 0.3

    def steps(self) -> int:
        """Steps of a whole run."""
        return max(1, math.ceil(self.tokens / self.batch_tokens))

    def decay_start(self, steps: int) -> int:
        """The first step of the decay in a run of `steps`."""
        return int((1 - self.decay) * steps + 1e-9)

    def shortened(self, step: int) -> int:
        """The steps of a run whose decay begins at `step`."""
        return max(step + 1, math.ceil(step / (1 - self.decay)))

    def factor(self, step: int, steps: int) -> float:
        """What both rates are multiplied with at `step`, counted from 0."""
        start = self.decay_start(steps)
        return min(1.0, (step + 1) / self.warmup) * min(1.0, (steps - step) / max(steps - start, 1))


@dataclass(frozen=True)
class Progress:
    """Where training stands: losses are means over counted tokens since the last report."""

    step: int
    steps: int
    loss: float
    action_loss: float
    tokens_per_second: float


def train(
    decoder: Decoder,
    data: Transcripts,
    schedule: Schedule,
    *,
    late: Transcripts | None = None,
    seed: int,
    device: torch.device,
    on_progress: Callable[[Progress], None],
    on_start: Callable[[int, int], None] = lambda _step, _steps: None,
    keep_going: Callable[[], bool] = lambda: True,
    saved: Path | None = None,
    every: float = 60.0,
    decay_now: bool = False,
    compiled: bool = False,
) -> int:
    """Train in place and return the steps done. bfloat16 where the machine has it; a seed gives the same batches.

    The state is kept in the file `saved` every `every` seconds and at the end, and taken from there: a run that was
    killed goes on as if nothing had happened. `decay_now` starts the decay where the state stands; `compiled` is for
    `Objective`. `late` is read instead of `data` while the rates fall.
    """
    decoder.to(device).train()
    optimizers = make_optimizers(decoder, schedule)
    objective = Objective(decoder, schedule.batch_tokens, device, compiled=compiled)
    at = resume.load(saved, decoder, optimizers) if saved is not None else None
    step, steps = (at.step, at.steps) if at is not None else (0, schedule.steps())
    if decay_now and step < schedule.decay_start(steps):
        steps = schedule.shortened(step)
    on_start(step, steps)
    losses: list[float] = []
    action_losses: list[float] = []
    done, clock, kept_at = 0, time.monotonic(), time.monotonic()
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
    for source, chosen in _order(data, late, schedule, step, steps, seed):
        if not keep_going():
            break
        for optimizer, rate in zip(optimizers, (schedule.muon_rate, schedule.adam_rate), strict=True):
            optimizer.param_groups[0]["lr"] = rate * schedule.factor(step, steps)
        with autocast:
            loss, action_loss, tokens = objective(source, chosen)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(optimizers[1].param_groups[0]["params"], 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step, done = step + 1, done + tokens
        losses.append(float(loss.detach()))
        action_losses.append(action_loss)
        if saved is not None and (step == steps or time.monotonic() - kept_at >= every):
            resume.save(saved, decoder, optimizers, resume.At(step, steps))
            kept_at = time.monotonic()
        if step % 10 == 0 or step == steps:
            speed = done / (time.monotonic() - clock)
            on_progress(Progress(step, steps, _mean(losses), _mean(action_losses), speed))
            done, clock, losses, action_losses = 0, time.monotonic(), [], []
    return step


def _order(
    data: Transcripts, late: Transcripts | None, schedule: Schedule, step: int, steps: int, seed: int
) -> Iterator[tuple[Transcripts, list[int]]]:
    """The batches from `step` on, each with the transcripts that it is of."""
    turn = steps if late is None else schedule.decay_start(steps)
    for source, first, last in ((data, step, turn), (late, max(step - turn, 0), steps - turn)):
        if source is not None and first < last:
            chosen = batches(source, tokens=schedule.batch_tokens, seed=seed)
            yield from ((source, batch) for batch in islice(chosen, first, last))


def make_optimizers(decoder: Decoder, schedule: Schedule) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    hidden, other = _split(decoder)
    muon = Muon(hidden, lr=schedule.muon_rate, momentum=0.95, weight_decay=0.01)
    return muon, torch.optim.AdamW(other, lr=schedule.adam_rate, betas=(0.9, 0.95), weight_decay=0.0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def _split(decoder: Decoder) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Muon takes matrices between hidden states; embeddings, output and norms go to AdamW (Muon's own advice)."""
    named = list(decoder.named_parameters())
    hidden = [p for name, p in named if p.dim() == 2 and ".layers." in name]
    return hidden, [p for name, p in named if not (p.dim() == 2 and ".layers." in name)]
