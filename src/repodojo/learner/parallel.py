"""A learner over several processes: weights sharded by FSDP2, micro-batches dealt out, every sum over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from repodojo.inference.decoder import Decoder
from repodojo.learner.packing import Pack


def shard(decoder: Decoder, mesh: DeviceMesh) -> Decoder:
    """Shard the weights over a one-dimensional mesh, in place: a block is gathered when it is computed.

    Every rank must hold the same weights before, and take part in every step after.
    """
    for layer in decoder.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(decoder, mesh=mesh)
    register_fsdp_forward_method(decoder, "hidden")
    for module in decoder.modules():
        if isinstance(module, FSDPModule):
            # a micro-batch's loss is its share of the whole batch's: gradients add up, they are no mean
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return decoder


@dataclass(frozen=True)
class Ranks:
    """Who shares the work: this process is `rank` of `count`. The default is one process alone."""

    rank: int = 0
    count: int = 1

    def deal(self, packs: Sequence[Pack]) -> Iterator[tuple[Pack, bool]]:
        """This rank's packs. Each rank gets as many, since they gather weights together: the last may not count."""
        for first in range(0, len(packs), self.count):
            mine = first + self.rank
            yield (packs[mine], True) if mine < len(packs) else (packs[-1], False)

    def total(self, value: float) -> float:
        """Sum over ranks."""
        return float(self.sum(torch.tensor([value], dtype=torch.float64)))

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over ranks, in place."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value: Any) -> list[Any]:
        """What each rank has."""
        found = [value] * self.count
        if self.count > 1:
            dist.all_gather_object(found, value)
        return found


def whole(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of all weights, gathered where they are sharded."""
    return {name: full(weight.detach()).clone() for name, weight in weights.items()}


def full(x: Tensor) -> Tensor:
    """A sharded tensor as a whole one."""
    return x.full_tensor() if isinstance(x, DTensor) else x
