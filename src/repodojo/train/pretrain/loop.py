"""The training of the base: next-token loss on code and on the explorer's own tokens, nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from repodojo.inference.decoder import Attend, Decoder
from repodojo.train.pretrain.dataset import Transcripts, batches


@dataclass(frozen=True)
class Schedule:
    """Learning rates (Muon for hidden matrices, AdamW for the rest), warm-up, then a straight line to a tenth."""

    tokens: int
    batch_tokens: int = 16384
    muon_rate: float = 0.02
    adam_rate: float = 3e-3
    warmup: int = 20

    def factor(self, step: int, steps: int) -> float:
        """What both rates are multiplied with at `step`."""
        return min(1.0, (step + 1) / self.warmup) * max(0.1, 1.0 - 0.9 * step / max(steps, 1))


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
    seed: int,
    device: torch.device,
    on_progress: Callable[[Progress], None],
    keep_going: Callable[[], bool] = lambda: True,
) -> None:
    """Train in place. bfloat16 autocast where the machine has it; the same seed gives the same batches."""
    decoder.to(device).train()
    hidden, other = _split(decoder)
    muon = torch.optim.Muon(hidden, lr=schedule.muon_rate, momentum=0.95, weight_decay=0.01)
    adam = torch.optim.AdamW(other, lr=schedule.adam_rate, betas=(0.9, 0.95), weight_decay=0.0)
    steps = math.ceil(schedule.tokens / schedule.batch_tokens)
    done, clock, losses, action_losses = 0, time.monotonic(), [0.0], [0.0]
    for step, chosen in zip(range(steps), batches(data, tokens=schedule.batch_tokens, seed=seed), strict=False):
        if not keep_going():
            return
        for group in (*muon.param_groups, *adam.param_groups):
            base = schedule.muon_rate if group in muon.param_groups else schedule.adam_rate
            group["lr"] = base * schedule.factor(step, steps)
        loss, action_loss, tokens = _loss(decoder, data, chosen, device)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(other, 1.0)
        for optimizer in (muon, adam):
            optimizer.step()  # type: ignore[no-untyped-call]
            optimizer.zero_grad(set_to_none=True)
        done += tokens
        losses.append(float(loss.detach()))
        action_losses.append(action_loss)
        if step % 10 == 9 or step == steps - 1:
            rate = done / (time.monotonic() - clock)
            on_progress(Progress(step + 1, steps, _mean(losses[1:]), _mean(action_losses[1:]), rate))
            done, clock, losses, action_losses = 0, time.monotonic(), [0.0], [0.0]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def _split(decoder: Decoder) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Muon takes matrices between hidden states; embeddings, output and norms go to AdamW (Muon's own advice)."""
    named = list(decoder.named_parameters())
    hidden = [p for name, p in named if p.dim() == 2 and ".layers." in name]
    return hidden, [p for name, p in named if not (p.dim() == 2 and ".layers." in name)]


def _loss(
    decoder: Decoder, data: Transcripts, chosen: Sequence[int], device: torch.device
) -> tuple[Tensor, float, int]:
    """Mean loss of counted tokens, that of action tokens alone for the eye, and the number of real tokens."""
    lengths = [int(data.starts[i + 1] - data.starts[i]) for i in chosen]
    longest = max(lengths)
    ids = torch.zeros(len(chosen), longest, dtype=torch.long)
    weight = torch.zeros(len(chosen), longest, dtype=torch.bool)
    for row, index in enumerate(chosen):
        span = slice(data.starts[index], data.starts[index + 1])
        ids[row, : lengths[row]] = torch.from_numpy(data.ids[span].astype("int64"))
        weight[row, : lengths[row]] = torch.from_numpy(data.counted[span].copy())
    weight[:, 0] = False
    ids, weight = ids.to(device), weight.to(device)
    positions = torch.arange(longest, device=device).repeat(len(chosen))
    with torch.autocast(device.type, torch.bfloat16):
        hidden = decoder.hidden(ids.flatten(), positions, _rows(len(chosen), longest))
        shifted = torch.roll(weight, -1, 1).flatten()
        targets = torch.roll(ids, -1, 1).flatten()[shifted]
        total, each = _chunked(decoder, hidden[shifted], targets)
    acted = torch.roll(_after_opening(weight), -1, 1).flatten()[shifted]
    action = float(each[acted].mean()) if bool(acted.any()) else 0.0
    return total / len(targets), action, sum(lengths)


def _after_opening(weight: Tensor) -> Tensor:
    """Counted tokens after the first gap: a transcript counts its opening and first turn as one run."""
    gaps = (~weight[:, 1:] & weight[:, :-1]).cumsum(1) > 0
    return weight & torch.cat([torch.zeros_like(gaps[:, :1]), gaps], 1)


def _chunked(decoder: Decoder, hidden: Tensor, targets: Tensor, size: int = 2048) -> tuple[Tensor, Tensor]:
    """Summed loss and the loss of each token [T]; logits exist for `size` tokens at a time."""
    total = hidden.new_zeros((), dtype=torch.float32)
    each = []
    for start in range(0, len(targets), size):
        part = F.cross_entropy(
            decoder.logits(hidden[start : start + size]), targets[start : start + size], reduction="none"
        )
        total = total + part.sum()
        each.append(part.detach())
    return total, torch.cat(each)


def _rows(rows: int, length: int) -> Attend:
    """Causal attention within each of `rows` padded rows."""

    def attend(_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.view(rows, length, -1, x.shape[-1]).transpose(1, 2) for x in (q, k, v))
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return o.transpose(1, 2).reshape(rows * length, o.shape[1], -1)

    return attend
