"""How likely a task is to be solved: foretold from what it looks like, then from how it went.

From features, a logistic regression: p = 1 / (1 + exp(-(b + w . x))). From attempts, beta-binomial: with p as the mean
of a Beta prior worth `strength` attempts, s of n solved give Beta(strength p + s, strength (1 - p) + n - s), whose mean
(strength p + s) / (strength + n) is the estimate; difficulty is one minus that. Both are fitted to a set's own rollouts
where there are enough of them. The weights that ship are a fit to the quickstart's 344 tasks and 3,382 attempts of the
shipped base while it learned (`repodojo quickstart --set rl.steps=12`, then `tasks refresh SET --run RUN --dry-run`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from repodojo.core.records import Task
from repodojo.tasks.rollouts import Tally

ENOUGH = 40
"""Tasks with attempts from which a set's own rollouts make the fit."""
RIDGE = 1.0
STRENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
RANDOM_SHARE = 0.08
"""Of random edits that mend an injected bug, on average: what is not measured counts as that."""
WEIGHTS: Mapping[str, float] = {
    "bias": -3.754,
    "function lines": 0.044,
    "changed lines": 0.438,
    "failing tests": 0.032,
    "instruction": -0.209,
    "doctest": 0.195,
    "random edits": 0.026,
    "kind arithmetic": -1.069,
    "kind boolean": 1.178,
    "kind comparison": 1.354,
    "kind constant": -0.082,
    "kind inverted-condition": 2.38,
    "kind off-by-one": 1.249,
    "kind removed-statement": -2.188,
    "kind swapped-arguments": -0.734,
    "kind wrong-variable": -2.127,
}
STRENGTH = 2.0
Floats = NDArray[np.float64]


def features(task: Task, random: Tally | None = None) -> dict[str, float]:
    """What foretells difficulty, by name. Sizes are logarithms to base 2; `random` are the attempts of random edits."""
    rows = [r for r in (task.gold.patch if task.gold else "").splitlines() if r[:1] in "+-"]
    files = sum(r.startswith("+++ ") for r in rows)
    changed = len(rows) - 2 * files
    found = {
        "bias": 1.0,
        "function lines": math.log2(max(int(task.labels.get("lines") or 0), 1)),
        "changed lines": math.log2(max(changed, 1)),
        "further files": float(max(files - 1, 0)),
        "failing tests": math.log2(max(len(task.grader.fail_to_pass), 1)),
        "instruction": math.log2(max(len(task.instruction), 1)) - 9,
        "doctest": float(task.labels.get("judge") == "doctest"),
        f"kind {task.labels.get('kind') or 'unknown'}": 1.0,
    }
    if random is not None and random.attempts:
        share = (random.solved + RANDOM_SHARE) / (random.attempts + 1)
        found["random edits"] = math.log(share / (1 - share)) - math.log(RANDOM_SHARE / (1 - RANDOM_SHARE))
    return found


@dataclass(frozen=True)
class Estimate:
    """`rate` is the expected solve rate, `spread` the standard deviation of what is believed of it."""

    rate: float
    spread: float
    tally: Tally = field(default_factory=Tally)

    @property
    def difficulty(self) -> float:
        """From 0 (always solved) to 1."""
        return 1 - self.rate


@dataclass(frozen=True)
class Model:
    """Weights by feature, the strength of the prior in attempts, and how many tasks and attempts they were fitted to
    (0: the weights that ship)."""

    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)
    strength: float = STRENGTH
    tasks: int = 0
    attempts: int = 0

    def prior(self, found: Mapping[str, float]) -> float:
        """The solve rate that features alone foretell; one that was never seen adds nothing."""
        z = sum(self.weights.get(name, 0.0) * value for name, value in found.items())
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, z))))

    def estimate(self, found: Mapping[str, float], tally: Tally | None = None) -> Estimate:
        """The mean and deviation of the Beta posterior."""
        tally = tally or Tally()
        mean = self.prior(found)
        a = self.strength * mean + tally.solved
        b = self.strength * (1 - mean) + tally.attempts - tally.solved
        total = a + b
        return Estimate(a / total, math.sqrt(a * b / (total * total * (total + 1))), tally)


def fit(rows: Sequence[tuple[Mapping[str, float], Tally]]) -> Model:
    """A model of tasks with their attempts; the one that ships where fewer than ENOUGH were tried."""
    known = [(found, tally) for found, tally in rows if tally.attempts]
    if len(known) < ENOUGH:
        return Model()
    names = sorted({name for found, _ in known for name in found})
    x = np.array([[found.get(name, 0.0) for name in names] for found, _ in known])
    solved, attempts = (np.array([getattr(t, n) for _, t in known], dtype=float) for n in ("solved", "attempts"))
    w = logistic(x, solved, attempts, np.array([0.01 if name == "bias" else RIDGE for name in names]))
    means = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
    strength = max(STRENGTHS, key=lambda s: likelihood(means, solved, attempts, s))
    weights = {name: round(float(value), 3) for name, value in zip(names, w, strict=True)}
    return Model(weights, strength, len(known), int(attempts.sum()))


def surprise(rows: Sequence[tuple[Mapping[str, float], Tally]], folds: int = 5) -> tuple[float, float]:
    """Nats an attempt of tasks that the fit has not seen (cross-validated): by features, and by one rate for all.

    (0, 0) where fewer than ENOUGH tasks were tried.
    """
    known = [(found, tally) for found, tally in rows if tally.attempts]
    if len(known) * (folds - 1) // folds < ENOUGH:
        return 0.0, 0.0
    total, plain = 0.0, 0.0
    for fold in range(folds):
        seen = [row for number, row in enumerate(known) if number % folds != fold]
        model = fit(seen)
        mean = (sum(t.solved for _, t in seen) + 0.5) / (sum(t.attempts for _, t in seen) + 1)
        for found, tally in known[fold::folds]:
            total += _nats(model.prior(found), tally)
            plain += _nats(mean, tally)
    attempts = sum(tally.attempts for _, tally in known)
    return total / attempts, plain / attempts


def _nats(p: float, tally: Tally) -> float:
    return -tally.solved * math.log(p) - (tally.attempts - tally.solved) * math.log1p(-p)


def logistic(x: Floats, solved: Floats, attempts: Floats, ridge: Floats) -> Floats:
    """Weights that maximise the binomial likelihood less ridge w^2 / 2, by Newton's method with halved steps."""

    def loss(w: Floats) -> float:
        z = x @ w
        return float((attempts * np.logaddexp(0, z) - solved * z).sum() + (ridge * w * w).sum() / 2)

    w: Floats = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (attempts * p - solved) + ridge * w
        hessian = (x * (attempts * p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while size > 1e-6 and loss(w - size * step) > loss(w):
            size /= 2
        w = w - size * step
        if np.abs(size * step).max() < 1e-8:
            break
    return w


def likelihood(means: Floats, solved: Floats, attempts: Floats, strength: float) -> float:
    """Log-likelihood (less what does not depend on the prior) of counts under Beta(strength m, strength (1 - m))."""
    lgamma = np.vectorize(math.lgamma, otypes=[float])
    a, b = np.maximum(strength * means, 1e-9), np.maximum(strength * (1 - means), 1e-9)
    after = lgamma(a + solved) + lgamma(b + attempts - solved) - lgamma(a + b + attempts)
    return float((after - lgamma(a) - lgamma(b) + lgamma(a + b)).sum())
