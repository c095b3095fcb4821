"""What is asked of a worker: an episode, and the settings that every episode of a pool shares."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from repodojo.agent.kit import Kit
from repodojo.agent.loop import AgentLimits
from repodojo.core.protocols import Limits
from repodojo.rewards.formula import Formula

MODEL = "model"


@dataclass(frozen=True)
class Order:
    """One episode to play. Orders of a group go to one worker (see Rules.spread), so its prompt is computed once."""

    id: str
    task_id: str
    group_id: str
    seed: int
    policy: str = MODEL
    temperature: float = 1.0


@dataclass(frozen=True)
class PoolSettings:
    """What all episodes of a pool share. `model` and `store` are folders; `concurrency` is per worker."""

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
    threads: int = 1
    kv_mb: int = 0


def seed_of(run_seed: int, *names: object) -> int:
    """A seed for one episode that depends on nothing but its names (63 bits)."""
    text = ":".join(str(name) for name in (run_seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def group_orders(
    task_ids: Sequence[str], *, size: int, prefix: str, seed: int, policy: str = MODEL, temperature: float = 1.0
) -> list[Order]:
    """`size` orders for each task; ids and seeds follow from `prefix`, position and task alone."""
    return [
        Order(
            id=f"{prefix}/{position}/{member}",
            task_id=task_id,
            group_id=f"{prefix}/{position}",
            seed=seed_of(seed, prefix, position, task_id, member),
            policy=policy,
            temperature=temperature,
        )
        for position, task_id in enumerate(task_ids)
        for member in range(size)
    ]
