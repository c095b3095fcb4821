"""Where a model computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from repodojo.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]
"""By name; "auto" is CUDA where torch can use it."""


def device_of(name: str, place: int = 0) -> torch.device:
    """The device of a name; of several GPUs the one for process number `place`, in turn.

    ConfigError for a name that is none, and for CUDA where torch can use none.
    """
    import torch  # settings name devices, and reading settings should not take a second

    if name not in get_args(Device):
        raise ConfigError(f"there is no device {name!r}", way_out=f"use {', '.join(get_args(Device))}")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("this machine has no CUDA device that torch can use", way_out="use cpu")
    if name == "cpu" or not there:
        return torch.device("cpu")
    return torch.device("cuda", place % torch.cuda.device_count())


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is a type of the hardware; where it is emulated, float32 is faster and more exact."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return device.type == "cpu" and any(check is not None and check() for check in checks)
