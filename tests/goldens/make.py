"""Makes the goldens from the plain formulas beside it: `python tests/goldens/make.py` (seed 20)."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import formulas as f

HERE = Path(__file__).parent
MODES = ("token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")


def advantages(rng: random.Random) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    for sizes in ([8], [2, 5, 3], [4, 4, 4], [7, 2], [1, 20]):
        for draw in (rng.random, lambda: float(rng.randint(0, 1)), lambda: rng.gauss(100, 1)):
            groups = [[draw() for _ in range(size)] for size in sizes]
            lengths = [[float(rng.randint(1, 900)) for _ in g] for g in groups]
            by_group: dict[str, list[list[float]]] = {
                "grpo": [f.grpo(g) for g in groups],
                "dr_grpo": [f.dr_grpo(g) for g in groups],
                "reinforce_pp": f.reinforce_pp(groups),
                "opo": [f.opo(g, n) for g, n in zip(groups, lengths, strict=True)],
                "pass_at_k": [f.pass_at_k(g) for g in groups],
                "gapo": [f.gapo(g) for g in groups],
                "gapo_mean": [f.gapo(g, 0.55, "mean") for g in groups],
                "gapo_plain": [f.gapo(g, 0.55, "median", normalise=False) for g in groups],
            }
            if min(sizes) > 1:
                by_group["rloo"] = [f.rloo(g) for g in groups]
            case: dict[str, Any] = {
                "rewards": [x for g in groups for x in g],
                "group": [k for k, g in enumerate(groups) for _ in g],
                "lengths": [n for ns in lengths for n in ns],
            }
            cases.append(case | {name: [a for g in found for a in g] for name, found in by_group.items()})
    return cases


def losses(rng: random.Random) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    for low, high, dual in ((0.2, 0.2, None), (0.2, 0.28, None), (0.2, 0.28, 3.0)):
        tokens = [[(rng.gauss(-1, 1), rng.gauss(-1, 1)) for _ in range(n)] for n in (3, 0, 7, 1)]
        advantage = [rng.gauss(0, 1) for _ in tokens]
        each = [
            [f.ppo(a - b, adv, low=low, high=high, dual=dual) for a, b in sequence]
            for sequence, adv in zip(tokens, advantage, strict=True)
        ]
        case = {"low": low, "high": high, "dual": dual, "advantage": advantage, "tokens": tokens, "loss": each}
        cases.append(case | {"aggregated": {mode: f.aggregate(each, mode, 16.0) for mode in MODES}})
    return cases


def sequences(rng: random.Random) -> list[dict[str, Any]]:
    """Losses and weights that look at whole sequences, or are no clipped ratio."""
    cases: list[dict[str, Any]] = []
    for spread in (1e-4, 0.1, 1.0, 8.0):
        for advantage in (-1.5, 0.7):
            for n in (1, 6):
                old = [rng.gauss(-2, 1) for _ in range(n)]
                new, rollout = ([x + rng.gauss(0, spread) for x in old] for _ in range(2))
                case: dict[str, Any] = {"new": new, "old": old, "rollout": rollout, "advantage": advantage}
                case["gspo"] = f.gspo(new, old, advantage, 3e-4, 4e-4)
                case["cispo"] = f.cispo(new, old, advantage, 0.28)
                case["topr"] = f.topr(new, old, advantage)
                case["kl"] = [f.kl(a, b) for a, b in zip(new, old, strict=True)]
                case["corrections"] = f.corrections(old, rollout)
                case["off_policy_mask"] = f.off_policy_mask(new, old, advantage, 0.5)
                cases.append(case)
    return cases


if __name__ == "__main__":
    rng = random.Random(20)
    for name, made in (("advantages", advantages(rng)), ("losses", losses(rng)), ("sequences", sequences(rng))):
        (HERE / f"{name}.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in made) + "\n]\n")
