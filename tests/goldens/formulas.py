"""The sheet's formulas in plain Python, one group (or one sequence) at a time; nothing of the package is used here.

Goldens are made from them (`python tests/goldens/make.py`), and tests compare drawn inputs with them.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal


def mean(r: list[float]) -> float:
    return math.fsum(r) / len(r)


def std(r: list[float], around: float | None = None) -> float:
    m = mean(r) if around is None else around
    return math.sqrt(math.fsum((x - m) ** 2 for x in r) / (len(r) - 1)) if len(r) > 1 else 0.0


# ---------------------------------------------------------------- advantages


def grpo(r: list[float]) -> list[float]:
    return [(x - mean(r)) / (std(r) + 1e-6) for x in r]


def dr_grpo(r: list[float]) -> list[float]:
    return [x - mean(r) for x in r]


def rloo(r: list[float]) -> list[float]:
    return [x - (math.fsum(r) - x) / (len(r) - 1) for x in r]


def reinforce_pp(groups: list[list[float]]) -> list[list[float]]:
    centred = [dr_grpo(g) for g in groups]
    every = [x for g in centred for x in g]
    m, s = mean(every), std(every)
    return [[(x - m) / (s + 1e-6) if len(every) > 1 else 0.0 for x in g] for g in centred]


def opo(r: list[float], lengths: list[float]) -> list[float]:
    baseline = math.fsum(n * x for n, x in zip(lengths, r, strict=True)) / math.fsum(lengths)
    return [x - baseline for x in r]


def pass_at_k(r: list[float]) -> list[float]:
    if len(r) < 2:
        return [0.0] * len(r)
    first, second = sorted(r, reverse=True)[:2]
    best = r.index(first)
    return [(first - second) / (std(r) + 1e-6) if i == best else 0.0 for i in range(len(r))]


def gapo_centre(r: list[float], tau: float, centre: str) -> float:
    k = max(1, int((Decimal(str(tau)) * len(r)).to_integral_value(ROUND_CEILING)))
    ordered = sorted(r)
    best, narrowest = 0, math.inf
    for start in range(len(ordered) - k + 1):
        width = ordered[start + k - 1] - ordered[start]
        if width < narrowest:
            best, narrowest = start, width
    window = ordered[best : best + k]
    if centre == "mean":
        return mean(window)
    return window[k // 2] if k % 2 else (window[k // 2 - 1] + window[k // 2]) / 2


def gapo(r: list[float], tau: float = 0.5, centre: str = "median", normalise: bool = True) -> list[float]:
    q = gapo_centre(r, tau, centre)
    d = std(r, around=q) + 1e-6 if normalise else 1.0
    return [(x - q) / d for x in r]


def gigpo(steps: list[tuple[int, int, float]], gamma: float, episode_weight: float, step_weight: float) -> list[float]:
    """One group: (trajectory, state, reward) of each step, in the order of time."""
    episodes = sorted({t for t, _, _ in steps})
    returns = [math.fsum(r for t, _, r in steps if t == e) for e in episodes]
    by_episode = dict(zip(episodes, grpo(returns), strict=True))
    togo = []
    for i, (t, _, _) in enumerate(steps):
        later = [r for u, _, r in steps[i:] if u == t]
        togo.append(math.fsum(gamma**k * r for k, r in enumerate(later)))
    out = []
    for i, (t, s, _) in enumerate(steps):
        same = [j for j, (_, other, _) in enumerate(steps) if other == s]
        step = grpo([togo[j] for j in same])[same.index(i)]
        out.append(episode_weight * by_episode[t] + step_weight * step)
    return out


def gae(r: list[float], v: list[float], gamma: float, lam: float) -> list[float]:
    """One trajectory that ends: the sum of later deltas, written out."""
    values = [*v, 0.0]
    delta = [r[k] + gamma * values[k + 1] - values[k] for k in range(len(r))]
    return [math.fsum((gamma * lam) ** (j - k) * delta[j] for j in range(k, len(r))) for k in range(len(r))]


# ---------------------------------------------------------------- losses of one sequence of tokens


def clamp(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def ratio(new: float, old: float) -> float:
    return math.exp(clamp(new - old, -20.0, 20.0))


def ppo(log_ratio: float, advantage: float, *, low: float, high: float, dual: float | None) -> float:
    rho = ratio(log_ratio, 0.0)
    loss = max(-rho * advantage, -clamp(rho, 1 - low, 1 + high) * advantage)
    return min(loss, -dual * advantage) if dual is not None and advantage < 0 else loss


def gspo(new: list[float], old: list[float], advantage: float, low: float, high: float) -> float:
    """The loss of the whole sequence."""
    s = ratio(mean([a - b for a, b in zip(new, old, strict=True)]), 0.0)
    return max(-s * advantage, -clamp(s, 1 - low, 1 + high) * advantage)


def cispo(new: list[float], old: list[float], advantage: float, high: float) -> list[float]:
    return [-min(ratio(a, b), 1 + high) * advantage * a for a, b in zip(new, old, strict=True)]


def topr(new: list[float], old: list[float], advantage: float) -> list[float]:
    weight = [1.0 if advantage > 0 else min(ratio(a, b), 1.0) for a, b in zip(new, old, strict=True)]
    return [-w * advantage * a for w, a in zip(weight, new, strict=True)]


def kl(new: float, ref: float) -> dict[str, float]:
    k = new - ref
    return {"k1": k, "k2": k * k / 2, "k3": math.exp(-k) + k - 1}


# ---------------------------------------------------------------- corrections of one sequence


def corrections(old: list[float], rollout: list[float]) -> dict[str, list[float]]:
    w = [ratio(a, b) for a, b in zip(old, rollout, strict=True)]
    log_sum = math.fsum(a - b for a, b in zip(old, rollout, strict=True))
    whole, geometric = math.exp(clamp(log_sum, -20.0, 20.0)), math.exp(log_sum / len(w))
    return {
        "decoupled": w,
        "tis": [min(x, 2.0) for x in w],
        "icepop": [x if 0.5 <= x <= 5.0 else 0.0 for x in w],
        "mis_token": [x if x <= 2.0 else 0.0 for x in w],
        "mis_sequence": [whole if whole <= 2.0 else 0.0 for _ in w],
        "geometric": [1.0 if 0.9 <= geometric <= 1.1 else 0.0 for _ in w],
        "veto": [0.0 if min(w) < 1e-4 else 1.0 for _ in w],
    }


def off_policy_mask(new: list[float], old: list[float], advantage: float, delta: float) -> float:
    drift = mean([b - a for a, b in zip(new, old, strict=True)])
    return 0.0 if advantage < 0 and drift > delta else 1.0


# ---------------------------------------------------------------- from tokens to one number


def aggregate(losses: list[list[float]], mode: str, l_max: float) -> float:
    """Sequences of token losses to one number; sequences without tokens do not count."""
    full = [s for s in losses if s]
    if mode == "token-mean":
        return sum(map(sum, full)) / sum(map(len, full))
    by_sequence = {
        "seq-mean-token-sum": [sum(s) for s in full],
        "seq-mean-token-mean": [sum(s) / len(s) for s in full],
        "seq-mean-token-sum-norm": [sum(s) / l_max for s in full],
    }[mode]
    return sum(by_sequence) / len(full)
