"""Per-token losses, and how they add up to one number over the global batch."""

from repodojo.algorithms.losses.aggregate import AGGREGATIONS, Totals, sequence_weights
from repodojo.algorithms.losses.clip import Clipped, ppo_clip
from repodojo.algorithms.losses.kl import KL_TERMS

__all__ = ["AGGREGATIONS", "KL_TERMS", "Clipped", "Totals", "ppo_clip", "sequence_weights"]
