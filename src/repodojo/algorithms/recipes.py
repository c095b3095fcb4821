"""Recipes: named compositions of advantage, loss, aggregation, filters and shaping; rows of a table, never classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from repodojo.algorithms.recipe import Recipe, unknown

GRPO = Recipe("grpo", advantage="grpo", aggregation="seq-mean-token-mean")
DAPO = Recipe("dapo", advantage="grpo", clip_high=0.28, drop_no_signal=True, overlong_cache=4096, overlong_limit=20480)
GRPO_PP = Recipe(
    "grpo_pp",
    advantage="rloo",
    clip_high=0.28,
    aggregation="seq-mean-token-sum-norm",
    l_max=1024,
    overlong="mask",
    drop_no_signal=True,
)
GOLUBEV = Recipe(
    "golubev_stage1",
    advantage="grpo",
    clip_high=0.3,
    drop_no_signal=True,
    drop_zero_advantage=True,
    turn_penalty_from=10,
    turn_limit=40,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        # arXiv 2402.03300, without the KL penalty of the paper (add kl="k3", kl_coef=0.04 for it).
        GRPO,
        # arXiv 2503.20783.
        Recipe("dr_grpo", advantage="dr_grpo", aggregation="seq-mean-token-sum-norm", l_max=1024),
        # arXiv 2503.14476; its lengths are those of the paper (16k and a cache of 4k), a run puts its agent's there.
        DAPO,
        # GRPO++ of DeepSWE: clip-high, leave-one-out, no spread, constant length norm, compact filtering, no KL loss,
        # no entropy loss.
        GRPO_PP,
        # The same with the length norm of DeepSWE's 32k tokens of response.
        replace(GRPO_PP, name="deepswe", l_max=32768),
        # arXiv 2508.03501, its two stages; groups are filtered by the binary outcome, the penalty is on turns.
        GOLUBEV,
        replace(GOLUBEV, name="golubev_stage2", clip_high=0.26, turn_limit=80),
        # arXiv 2510.21830 replaces the advantage alone; its rewards are of degree, and so is DAPO's filter.
        replace(GRPO, name="gapo", advantage="gapo"),
        replace(DAPO, name="dapo_gapo", advantage="gapo", signal_by="score"),
        # arXiv 2507.18071, 2506.13585, 2503.14286.
        replace(GRPO, name="gspo", loss="gspo", clip_low=3e-4, clip_high=4e-4),
        replace(DAPO, name="cispo", loss="cispo"),
        Recipe("topr", advantage="dr_grpo", loss="topr"),
    )
}


def recipe(name: str, **parts: Any) -> Recipe:
    """A named recipe with some parts replaced; ConfigError names the nearest for an unknown name.

    >>> recipe("grpo_pp", clip_low=0.1).clip_low
    0.1
    """
    if name not in RECIPES:
        raise unknown(f"no recipe '{name}'", name, tuple(RECIPES))
    return RECIPES[name].override(**parts)


__all__ = ["RECIPES", "Recipe", "recipe"]
