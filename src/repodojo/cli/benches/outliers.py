"""GAPO against GRPO under reward outliers, on bandits: the estimators alone, no language model.

Each of 64 contexts has 16 answers of a known quality in 0..1 (one of them right: 1), a softmax policy draws 8 of them
a step, and its logits follow A grad log pi, on policy. A stated share of rewards is replaced by chance, as
`reward.outliers` does. Clipping, filters and aggregation, in which DAPO differs from GRPO, do nothing here: every ratio
is 1, and an answer is one token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repodojo.algorithms.advantages import gapo, grpo
from repodojo.evaluate.metrics import mean_interval
from repodojo.train.noise import HIGH, LOW

CONTEXTS, ANSWERS, GROUP = 64, 16, 8
RATES, STEPS, SEEDS, TUNING = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0), 60, 16, 4
SHARES = (0.0, 0.1, 0.2, 0.3)
NOISE = 0.02
"""Standard deviation of a clean reward around its answer's quality."""
Floats = NDArray[np.float64]
Advantage = Callable[[Floats, NDArray[np.intp]], Floats]
SIDES: dict[str, Advantage] = {"grpo": grpo, "gapo": gapo}


def learned(advantage: Advantage, share: float, seed: int, steps: int, rate: float) -> float:
    """The mean quality of the policy's answers after `steps`; both sides meet the same bandits and the same draws."""
    rng = np.random.default_rng(seed)
    quality = rng.beta(2.0, 2.0, (CONTEXTS, ANSWERS)) * 0.9
    quality[:, 0] = 1.0
    logits = rng.normal(0.0, 1.0, (CONTEXTS, ANSWERS))
    group, rows = np.repeat(np.arange(CONTEXTS), GROUP), np.arange(CONTEXTS)[:, None]
    for _ in range(steps):
        policy = _softmax(logits)
        drawn = (policy.cumsum(1)[:, None, :] < rng.random((CONTEXTS, GROUP, 1))).sum(2).clip(max=ANSWERS - 1)
        rewards = (quality[rows, drawn] + rng.normal(0.0, NOISE, drawn.shape)).clip(0.0, 1.0)
        chance = rng.uniform(LOW, HIGH, drawn.shape)
        rewards = np.where(rng.random(drawn.shape) < share, chance, rewards)
        credit = advantage(rewards.ravel(), group).reshape(drawn.shape) / GROUP
        gradient = -credit.sum(1, keepdims=True) * policy
        np.add.at(gradient, (rows, drawn), credit)
        logits += rate * gradient
    return float((_softmax(logits) * quality).sum(1).mean())


def _softmax(logits: Floats) -> Floats:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(odds / odds.sum(1, keepdims=True))


def _tuned(side: Advantage, share: float, steps: int, seeds: int) -> float:
    """The best of RATES, on seeds that are not measured."""
    others = range(seeds, seeds + TUNING)
    return max(RATES, key=lambda rate: sum(learned(side, share, seed, steps, rate) for seed in others))


def run(quick: bool) -> dict[str, Any]:
    """Mean quality of each side by share of outliers, each at the learning rate that did best on other seeds, and GAPO
    less GRPO, paired by seed, with a 95% interval; `slow_*` is that difference with both at the lowest rate.

    `ratio` is GRPO's distance from the best over GAPO's at the highest share: above 1, GAPO ends nearer to it.
    """
    steps, seeds = (8, 3) if quick else (STEPS, SEEDS)
    found: dict[str, Any] = {"contexts": CONTEXTS, "group": GROUP, "steps": steps, "seeds": seeds, "rates": list(RATES)}
    found["start"] = float(np.mean([learned(grpo, 0.0, seed, 0, 0.0) for seed in range(seeds)]))
    for share in SHARES:
        percent = f"{100 * share:.0f}"
        rates = {name: _tuned(side, share, steps, seeds) for name, side in SIDES.items()}
        best = {
            name: [learned(side, share, s, steps, rates[name]) for s in range(seeds)] for name, side in SIDES.items()
        }
        slow = {name: [learned(side, share, s, steps, RATES[0]) for s in range(seeds)] for name, side in SIDES.items()}
        found |= {f"{name}_{percent}": float(np.mean(values)) for name, values in best.items()}
        found |= {f"{name}_{percent}_rate": rate for name, rate in rates.items()}
        found |= _difference(f"difference_{percent}", best) | _difference(f"slow_{percent}", slow)
    worst = f"{100 * SHARES[-1]:.0f}"
    found["ratio"] = (1 - found[f"grpo_{worst}"]) / (1 - found[f"gapo_{worst}"])
    return found


def _difference(name: str, ends: dict[str, list[float]]) -> dict[str, Any]:
    """GAPO less GRPO, seed by seed."""
    values = [a - b for a, b in zip(ends["gapo"], ends["grpo"], strict=True)]
    return {name: float(np.mean(values)), f"{name}_ci": list(mean_interval(values, seed=0))}
