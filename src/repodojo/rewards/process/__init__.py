"""Process scores in [0, 1], one file each: how the work was done, where it is correct."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from repodojo.rewards.process import commands, coupling, parallelism, reuse, size, style, thrift
from repodojo.rewards.process.work import Work

SCORES: dict[str, Callable[[Work], Awaitable[float]]] = {
    "style": style.score,
    "reuse": reuse.score,
    "coupling": coupling.score,
    "size": size.score,
    "parallelism": parallelism.score,
    "commands": commands.score,
    "tool_errors": thrift.tool_errors,
    "tokens": thrift.tokens,
}
"""By the name that the configuration gives them."""
