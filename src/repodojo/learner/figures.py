"""What the optimiser steps of one batch come to, as one row of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from repodojo.learner import critic
from repodojo.learner.objective import Sums


def summary(steps: Sequence[Mapping[str, float]], sums: Sums) -> dict[str, float]:
    """Metrics of the optimiser steps of one batch as one row."""
    tokens = sum(step["tokens"] for step in steps)
    valued = critic.summary(sums)
    of_first = sums.values.pop("mismatch_tokens", 0.0)
    means = {name: value / max(tokens, 1.0) for name, value in sums.values.items()}
    if "mismatch_mean" in means:
        means["mismatch_mean"] = sums.values["mismatch_mean"] / max(of_first, 1.0)
    count = max(len(steps), 1)
    if "ratio_squared" in means:
        squared = means.pop("ratio_squared")
        means["ratio_std"] = max(squared - means["ratio_mean"] ** 2, 0.0) ** 0.5
        share = means["ratio_mean"] ** 2 / squared if squared else 0.0
        means["effective_sample_size"] = min(share, 1.0)  # by Cauchy and Schwarz; sums of float32 may say a hair more
        means["ratio_min"] = 1.0 / sums.highest.pop("inverse_ratio_max", 1.0)
    return {
        "loss": sum(step["loss"] for step in steps) / count,
        "grad_norm": sum(step["grad_norm"] for step in steps) / count,
        "grad_norm_max": max(step["grad_norm"] for step in steps),
        "tokens": tokens,
        "rows": sum(step["rows"] for step in steps),
        "memory_mb": max(step["memory_mb"] for step in steps),
        "skipped": sum(step["skipped"] for step in steps),
        "learning_rate": steps[-1]["learning_rate"],
        **means,
        **sums.highest,
        **valued,
    }
