"""Rewards in, one advantage a trajectory out; one file an idea, each over all groups of a batch at once.

>>> from repodojo.algorithms.advantages import dr_grpo
>>> dr_grpo([1.0, 0.0, 3.0], [7, 7, 8])
[0.5, -0.5, 0.0]
"""

from repodojo.algorithms.advantages.dr_grpo import dr_grpo
from repodojo.algorithms.advantages.grpo import grpo
from repodojo.algorithms.advantages.rloo import rloo

ADVANTAGES = {"grpo": grpo, "dr_grpo": dr_grpo, "rloo": rloo}

__all__ = ["ADVANTAGES", "dr_grpo", "grpo", "rloo"]
