"""Torch's Muon, in float32 where the processor has no bfloat16.

Its Newton-Schulz iteration is written in bfloat16. Where that is emulated it took 42% of a pretraining step's CPU time
(a Zen 3 core); in float32 it is a few matrix products, and more exact.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from repodojo.inference.devices import has_bfloat16


class _Float32(TorchFunctionMode):
    """Copies in float32 for those in bfloat16: copies, since the iteration then works in place."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.bfloat16:
            return args[0].to(torch.float32, copy=True)
        return func(*args, **(kwargs or {}))


class Muon(torch.optim.Muon):
    """See the module."""

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step, as torch's."""
        device = self.param_groups[0]["params"][0].device
        with contextlib.nullcontext() if has_bfloat16(device) else _Float32():
            return super().step(closure)  # type: ignore[no-untyped-call]
