"""What to look at while it learns: where the signal is, and how rewards and advantages lie within each group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from repodojo.algorithms.advantages.gapo import interval
from repodojo.algorithms.advantages.groups import Floats, read
from repodojo.algorithms.batches import Assembled
from repodojo.algorithms.filters import CUT_OFF, with_signal
from repodojo.core.records import Trajectory

BINS = 10
SKEWED = 1.0
"""|g1| above which a distribution is called highly skewed (Bulmer, Principles of Statistics, 1979)."""


def by_outcome(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Mean turns and sampled tokens of episodes that were solved, that failed, and that a limit cut off unsolved.

    Also the share of groups without signal (all solved or all failed). Outages count nowhere; an outcome that nobody
    had is left out.
    """
    scored = [t for t in trajectories if t.score.value is not None]
    kinds = {"solved": [t for t in scored if t.score.solved]}
    kinds["cut_off"] = [t for t in scored if not t.score.solved and t.stop_reason in CUT_OFF]
    kinds["failed"] = [t for t in scored if not t.score.solved and t.stop_reason not in CUT_OFF]
    found: dict[str, float] = {}
    for kind, members in kinds.items():
        if members:
            found[f"turns_{kind}"] = sum(len(t.turns) for t in members) / len(members)
            sampled = sum(len(turn.action_ids) for t in members for turn in t.turns)
            found[f"tokens_sampled_{kind}"] = sampled / len(members)
    if scored:
        ids = {group: k for k, group in enumerate(dict.fromkeys(t.group_id for t in scored))}
        group_B = [ids[t.group_id] for t in scored]
        signal_B = with_signal([t.score.solved for t in scored], group_B)
        found["groups_without_signal_share"] = 1 - len(set(np.array(group_B)[signal_B].tolist())) / len(ids)
    return found


def of_batch(assembled: Assembled) -> dict[str, float]:
    """Spread of the rewards and advantages that are trained on; nothing for an empty batch."""
    counts = {
        "masked_overlong": float(assembled.masked_overlong),
        "dropped_overlong": float(assembled.dropped_overlong),
        "dropped_zero_advantage": float(assembled.dropped_zero_advantage),
    }
    if not assembled.rewards:
        return counts
    advantage_B = np.array([s.advantage for s in assembled.batch.samples])
    return counts | {
        "shaped_reward": float(np.mean(assembled.rewards)),
        "advantage_std": float(advantage_B.std()),
        "advantage_max": float(advantage_B.max()),
        "advantage_min": float(advantage_B.min()),
        "advantage_zero_share": float((advantage_B == 0).mean()),
        **_skewed(assembled),
    }


def skewness(rewards: Floats, group: Any) -> Floats:
    """Fisher's g1 = m3 / m2^1.5 of each group's rewards, [K], population moments; 0 for equal rewards."""
    groups = read(rewards, group)
    deviation_B = groups.deviations()
    m2_K, m3_K = (groups.sum(deviation_B**power) / groups.size_K for power in (2, 3))
    return np.divide(m3_K, m2_K**1.5, out=np.zeros_like(m3_K), where=m2_K > 1e-24)


def _skewed(assembled: Assembled) -> dict[str, float]:
    """Shares of groups whose rewards are skewed to the right and to the left: |g1| above SKEWED."""
    ids = {name: k for k, name in enumerate(dict.fromkeys(s.group_id for s in assembled.batch.samples))}
    g1_K = skewness(np.array(assembled.rewards), np.array([ids[s.group_id] for s in assembled.batch.samples]))
    right, left = float((g1_K > SKEWED).mean()), float((g1_K < -SKEWED).mean())
    return {"reward_skew_right_share": right, "reward_skew_left_share": left, "reward_skew": float(g1_K.mean())}


def histograms(assembled: Assembled, *, tau: float = 0.5) -> dict[str, Any]:
    """Of each group of the batch: counts of its rewards and advantages by common edges, and GAPO's interval.

    {"reward_edges": [11], "advantage_edges": [11], "groups": [{"id", "reward": [10], "advantage": [10],
    "interval": [low, high], "centre"}]}; {} for an empty batch. The interval is shown whatever the recipe: a centre far
    from the mean says that outliers carry a mean-based advantage.
    """
    samples = assembled.batch.samples
    if not samples:
        return {}
    reward_B, advantage_B = np.array(assembled.rewards), np.array([s.advantage for s in samples])
    ids = list(dict.fromkeys(s.group_id for s in samples))
    group_B = np.array([ids.index(s.group_id) for s in samples])
    reward_edges, advantage_edges = (_edges(values) for values in (reward_B, advantage_B))
    dense = interval(read(reward_B, group_B), tau)
    groups = [
        {
            "id": name,
            "reward": np.histogram(reward_B[group_B == k], reward_edges)[0].tolist(),
            "advantage": np.histogram(advantage_B[group_B == k], advantage_edges)[0].tolist(),
            "interval": [round(float(dense.low_K[k]), 6), round(float(dense.high_K[k]), 6)],
            "centre": round(float(dense.centre_K[k]), 6),
        }
        for k, name in enumerate(ids)
    ]
    return {
        "reward_edges": reward_edges.round(6).tolist(),
        "advantage_edges": advantage_edges.round(6).tolist(),
        "groups": groups,
    }


def _edges(values: Floats) -> Floats:
    low, high = float(values.min()), float(values.max())
    return np.linspace(low, high, BINS + 1) if high > low else np.linspace(low - 0.5, low + 0.5, BINS + 1)
