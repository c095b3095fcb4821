"""What a step of reinforcement learning leaves in metrics.jsonl beside the learner's own figures."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from repodojo.algorithms import diagnostics
from repodojo.algorithms.batches import Assembled
from repodojo.algorithms.recipe import Recipe
from repodojo.core.records import Trajectory


def signs(
    played: Sequence[Trajectory], assembled: Assembled, learned: Mapping[str, float], *, alarm: float
) -> dict[str, float]:
    """Where the signal was and whether rollout and learner agree; `alarm` is the bound of rl.mismatch_alarm."""
    return {
        **diagnostics.by_outcome(played),
        **diagnostics.of_batch(assembled),
        "mismatch_alarm": mismatch_alarm(learned, alarm),
    }


def details(assembled: Assembled, recipe: Recipe) -> dict[str, Any]:
    """What is no single number: histograms of rewards and advantages by group."""
    return {"histograms": diagnostics.histograms(assembled, tau=recipe.gapo_tau)}


def mismatch_alarm(learned: Mapping[str, float], bound: float) -> float:
    """1 and a warning where the log-probs of rollout and learner differ by more than `bound` nats on average, else 0.

    Ratios then measure the disagreement of two programs, not what the policy learned.
    """
    mismatch = learned.get("mismatch_mean", 0.0)
    if mismatch <= bound:
        return 0.0
    text = f"log-probs of rollout and learner differ by {mismatch:.3f} on average, above rl.mismatch_alarm = {bound}"
    warnings.warn(text, RuntimeWarning, stacklevel=2)
    return 1.0
