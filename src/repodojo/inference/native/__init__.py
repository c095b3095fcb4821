"""The C kernel of attention over kept keys and values: how it is compiled and called (see `core.native`)."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from repodojo.core import native

Attention = Literal["auto", "c", "torch"]
"""What attention is computed with; "auto" is the C kernel where this machine can compile it and the model suits it."""
FLAGS = ("-O3", "-fPIC", "-shared", "-Wall", "-Wextra")
TILE = 64
"""Keys that are read at once; runs of keys begin at multiples of it."""


class Call(ctypes.Structure):
    """The C side's `Call`: addresses of tensors, the others in floats and counts."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "out", "state")),
        *((name, ctypes.c_int64) for name in ("q_step", "k_step", "v_step", "tokens", "kv_heads", "group", "layer")),
    ]


Kernel = Callable[[object, int, int, int, int], None]
"""(address of a Call, address of passes, their count, first kv head, last kv head + 1)."""


def source() -> Path:
    """What is compiled."""
    return Path(__file__).parent / "attention.c"


@functools.cache
def kernel(head_dim: int) -> Kernel:
    """The kernel for heads of this many dimensions; OSError with the reason where it cannot be had."""
    if head_dim % 16:
        raise OSError(f"the C attention takes heads of a multiple of 16 dimensions, not {head_dim}")
    made = native.built(
        f"attention-{head_dim}",
        [source()],
        (*FLAGS, f"-DDIM={head_dim}"),
        tries=(("-march=native",), ("-mcpu=native",), ()),
        here=native.processor(),
    )
    function = ctypes.CDLL(str(made)).attend
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *(3 * [ctypes.c_int64])]
    function.restype = None
    return function
