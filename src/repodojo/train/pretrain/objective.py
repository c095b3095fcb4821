"""The loss of a batch of transcripts: next tokens, each with its weight, in tensors whose shapes hardly vary."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from repodojo.inference.decoder import Attend, Decoder
from repodojo.train.pretrain.dataset import Transcripts, padded

CHUNK = 2048


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile has what it needs: on a CPU a C++ compiler. Elsewhere it was not tried."""
    return device.type == "cpu" and any(shutil.which(name) for name in ("g++", "clang++", "c++"))


class Objective:
    """Of a decoder, on batches of at most `budget` tokens.

    compiled: fuse what lies between the matrix products (torch.compile): half a minute at the start, a quarter to a
        third faster from then on; attention stays as it is, because its shapes vary
    """

    def __init__(self, decoder: Decoder, budget: int, device: torch.device, *, compiled: bool = False) -> None:
        self.decoder, self.budget, self.device = decoder, budget, device
        self._hidden = torch.compile(decoder.hidden, dynamic=False) if compiled else decoder.hidden
        self._each = torch.compile(_each, dynamic=False) if compiled else _each

    def __call__(self, data: Transcripts, chosen: Sequence[int]) -> tuple[Tensor, float, int]:
        """Weighted mean loss, that of action tokens alone for the eye, and the number of real tokens."""
        lengths = data.lengths()[list(chosen)]
        length = int(padded(lengths).max())
        many = max(self.budget // length, len(chosen))
        flat = max(self.budget, many * length)
        ids_N, weight_N = _flat(data, chosen, length, flat)
        positions = torch.arange(length).repeat(many)
        positions = F.pad(positions, (0, flat - len(positions)))
        ids_N, weight_N = ids_N.to(self.device), torch.roll(weight_N, -1).to(self.device)
        hidden = self._hidden(ids_N, positions.to(self.device), rows(many, length))
        kept = _filled(weight_N.nonzero()[:, 0], CHUNK)
        weight_T = weight_N[kept]
        weight_T[int((weight_N > 0).sum()) :] = 0.0
        each_T = self._losses(hidden[kept], torch.roll(ids_N, -1)[kept])
        acted = weight_T == 1.0
        action = float(each_T.detach()[acted].mean()) if bool(acted.any()) else 0.0
        return (each_T * weight_T).sum() / weight_T.sum(), action, int(lengths.sum())

    def _losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The loss of each token [T]; logits exist for CHUNK tokens at a time."""
        parts = zip(torch.split(hidden, CHUNK), torch.split(targets, CHUNK), strict=True)
        return torch.cat([self._each(h, self.decoder.output_weight, t) for h, t in parts])


def _each(hidden: Tensor, output: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, output).float(), targets, reduction="none")


def _flat(data: Transcripts, chosen: Sequence[int], length: int, size: int) -> tuple[Tensor, Tensor]:
    """Token ids and weights [size]: a row of `length` for each transcript, then nothing. First tokens weigh nothing."""
    ids, weight = torch.zeros(size, dtype=torch.long), torch.zeros(size)
    for row, index in enumerate(chosen):
        span = slice(data.starts[index], data.starts[index + 1])
        place = slice(row * length, row * length + span.stop - span.start)
        ids[place] = torch.from_numpy(data.ids[span].astype("int64"))
        weight[place] = torch.from_numpy(data.weight[span])
        weight[row * length] = 0.0
    return ids, weight


def _filled(indices: Tensor, size: int) -> Tensor:
    """Indices with the first repeated at the end, up to a multiple of `size`."""
    missing = -len(indices) % size
    return torch.cat([indices, indices[:1].expand(missing)])


def rows(count: int, length: int) -> Attend:
    """Causal attention within each of `count` padded rows; what lies behind them gets zeros."""

    def attend(_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        size = count * length
        q_R, k_R, v_R = (x[:size].view(count, length, -1, x.shape[-1]).transpose(1, 2) for x in (q, k, v))
        o = F.scaled_dot_product_attention(q_R, k_R, v_R, is_causal=True, enable_gqa=True)
        return F.pad(o.transpose(1, 2).reshape(size, *q.shape[1:]), (0, 0, 0, 0, 0, len(q) - size))

    return cast(Attend, torch.compiler.disable(attend))  # type: ignore[no-untyped-call]
