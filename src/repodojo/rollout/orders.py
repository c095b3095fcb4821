"""What is asked of a worker: an episode, and the settings that every episode of a pool shares."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from repodojo.agent.kit import Kit
from repodojo.agent.loop import AgentLimits
from repodojo.core.protocols import Limits
from repodojo.inference.devices import Device
from repodojo.inference.native import Attention
from repodojo.inference.remote import Servers
from repodojo.rewards.formula import Formula
from repodojo.sandbox.local.native import Init

MODEL = "model"


@dataclass(frozen=True)
class Opening:
    """A turn of an earlier episode that is played again before the policy is asked; never trained on."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]


@dataclass(frozen=True)
class Order:
    """One episode to play. Orders of a group go to one worker (see Rules.spread), so its prompt is computed once."""

    id: str
    task_id: str
    group_id: str
    seed: int
    policy: str = MODEL
    temperature: float = 1.0
    opening: tuple[Opening, ...] = ()


@dataclass(frozen=True)
class PoolSettings:
    """What all episodes of a pool share. `model` and `store` are folders; `concurrency` is per worker.

    attacker: pay for exploits of the reward instead of the reward itself
    init: what boxes have as pid 1
    command: of another agent than the built-in one, which then plays the model's episodes ("": the built-in one)
    preload: modules that the command's Python loads once, and is forked from
    servers: what samples instead of an engine in each worker; dtype, device, threads and kv_* are then of nothing
    """

    store: str
    model: str
    dtype: str = "float32"
    agent: AgentLimits = field(default_factory=AgentLimits)
    box: Limits = field(default_factory=Limits)
    reward: Formula = field(default_factory=Formula)
    kit: Kit = field(default_factory=lambda: Kit(observation_chars=400))
    concurrency: int = 64
    memo_tests: bool = True
    allow_unisolated: bool = False
    init: Init = "auto"
    threads: int = 1
    kv_mb: int = 0
    attacker: bool = False
    kv_after_publish: Literal["rebuild", "keep"] = "rebuild"
    attention: Attention = "auto"
    device: Device = "cpu"
    prepared_boxes: int = 0
    command: str = ""
    preload: tuple[str, ...] = ()
    servers: Servers | None = None


def seed_of(run_seed: int, *names: object) -> int:
    """A seed for one episode that depends on nothing but its names (63 bits)."""
    text = ":".join(str(name) for name in (run_seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def group_orders(
    task_ids: Sequence[str],
    *,
    size: int,
    prefix: str,
    seed: int,
    policy: str = MODEL,
    temperature: float = 1.0,
    opening: tuple[Opening, ...] = (),
) -> list[Order]:
    """`size` orders for each task; ids and seeds follow from `prefix`, position and task alone.

    `opening`: turns that each of them begins with.
    """
    return [
        Order(
            id=f"{prefix}/{position}/{member}",
            task_id=task_id,
            group_id=f"{prefix}/{position}",
            seed=seed_of(seed, prefix, position, task_id, member),
            policy=policy,
            temperature=temperature,
            opening=opening,
        )
        for position, task_id in enumerate(task_ids)
        for member in range(size)
    ]
