"""Rewards in, one advantage a trajectory out; one file an idea, each over all groups of a batch at once.

>>> from repodojo.algorithms.advantages import dr_grpo
>>> dr_grpo([1.0, 0.0, 3.0], [7, 7, 8])
[0.5, -0.5, 0.0]
"""

from collections.abc import Callable
from typing import Any

from repodojo.algorithms.advantages.dr_grpo import dr_grpo
from repodojo.algorithms.advantages.gae import gae, to_tokens, whiten
from repodojo.algorithms.advantages.gapo import BinaryRewardWarning, gapo
from repodojo.algorithms.advantages.gigpo import gigpo
from repodojo.algorithms.advantages.grpo import grpo
from repodojo.algorithms.advantages.opo import opo
from repodojo.algorithms.advantages.pass_at_k import pass_at_k
from repodojo.algorithms.advantages.reinforce_pp import reinforce_pp
from repodojo.algorithms.advantages.rloo import loop, rloo

ADVANTAGES: dict[str, Callable[..., Any]] = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "loop": loop,
    "reinforce_pp": reinforce_pp,
    "opo": opo,
    "pass_at_k": pass_at_k,
    "gapo": gapo,
    "gigpo": gigpo,
}
"""What a recipe may name, beside `gae`, which needs the values of a critic (`algorithms.turn_credit`)."""

__all__ = [
    "ADVANTAGES",
    "BinaryRewardWarning",
    "dr_grpo",
    "gae",
    "gapo",
    "gigpo",
    "grpo",
    "loop",
    "opo",
    "pass_at_k",
    "reinforce_pp",
    "rloo",
    "to_tokens",
    "whiten",
]
