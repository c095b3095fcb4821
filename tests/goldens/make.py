"""Makes the goldens of advantages and losses in plain Python, a function a formula: `python tests/goldens/make.py`."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

HERE = Path(__file__).parent


def grpo(r: list[float]) -> list[float]:
    mean = sum(r) / len(r)
    std = math.sqrt(sum((x - mean) ** 2 for x in r) / (len(r) - 1)) if len(r) > 1 else 0.0
    return [(x - mean) / (std + 1e-6) for x in r]


def dr_grpo(r: list[float]) -> list[float]:
    return [x - sum(r) / len(r) for x in r]


def rloo(r: list[float]) -> list[float]:
    return [x - (sum(r) - x) / (len(r) - 1) for x in r]


def ppo(log_ratio: float, advantage: float, *, low: float, high: float, dual: float | None) -> float:
    ratio = math.exp(min(max(log_ratio, -20.0), 20.0))
    loss = max(-ratio * advantage, -min(max(ratio, 1 - low), 1 + high) * advantage)
    return min(loss, -dual * advantage) if dual is not None and advantage < 0 else loss


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


def advantages(rng: random.Random) -> list[dict[str, object]]:
    cases: list[dict[str, object]] = []
    for sizes in ([8], [2, 5, 3], [4, 4, 4], [7, 2]):
        for draw in (rng.random, lambda: float(rng.randint(0, 1)), lambda: rng.gauss(100, 1)):
            groups = [[draw() for _ in range(size)] for size in sizes]
            case: dict[str, object] = {
                "rewards": [x for g in groups for x in g],
                "group": [k for k, g in enumerate(groups) for _ in g],
            }
            for formula in (grpo, dr_grpo, rloo):
                case[formula.__name__] = [a for g in groups for a in formula(g)]
            cases.append(case)
    return cases


def losses(rng: random.Random) -> list[dict[str, object]]:
    cases: list[dict[str, object]] = []
    for low, high, dual in ((0.2, 0.2, None), (0.2, 0.28, None), (0.2, 0.28, 3.0)):
        tokens = [[(rng.gauss(-1, 1), rng.gauss(-1, 1)) for _ in range(n)] for n in (3, 0, 7, 1)]
        advantage = [rng.gauss(0, 1) for _ in tokens]
        each = [
            [ppo(a - b, adv, low=low, high=high, dual=dual) for a, b in sequence]
            for sequence, adv in zip(tokens, advantage, strict=True)
        ]
        modes = ("token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
        cases.append(
            {
                "low": low,
                "high": high,
                "dual": dual,
                "advantage": advantage,
                "tokens": tokens,
                "loss": each,
                "aggregated": {mode: aggregate(each, mode, 16.0) for mode in modes},
            }
        )
    return cases


if __name__ == "__main__":
    rng = random.Random(20)
    for name, cases in (("advantages", advantages(rng)), ("losses", losses(rng))):
        (HERE / f"{name}.json").write_text(json.dumps(cases, indent=1) + "\n")
