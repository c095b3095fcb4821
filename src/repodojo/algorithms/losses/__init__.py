"""Per-token losses, and how they add up to one number over the global batch."""

from repodojo.algorithms.losses.aggregate import AGGREGATIONS, Totals, sequence_weights
from repodojo.algorithms.losses.cispo import cispo
from repodojo.algorithms.losses.clip import Clipped, ppo_clip
from repodojo.algorithms.losses.gspo import gspo
from repodojo.algorithms.losses.kl import KL_TERMS
from repodojo.algorithms.losses.topr import topr

LOSSES = ("ppo", "gspo", "cispo", "topr")
"""What a recipe may name: `ppo_clip`, `gspo`, `cispo`, `topr`."""

__all__ = [
    "AGGREGATIONS",
    "KL_TERMS",
    "LOSSES",
    "Clipped",
    "Totals",
    "cispo",
    "gspo",
    "ppo_clip",
    "sequence_weights",
    "topr",
]
