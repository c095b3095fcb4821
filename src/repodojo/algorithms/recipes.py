"""Recipes: named compositions of advantage, loss, aggregation and filters; rows of a table, never classes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Literal

from repodojo.algorithms.advantages import ADVANTAGES
from repodojo.algorithms.filters import Overlong
from repodojo.algorithms.losses import AGGREGATIONS, KL_TERMS
from repodojo.algorithms.losses.aggregate import Aggregation
from repodojo.core.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """How rewards become gradients.

    advantage: a key of ADVANTAGES
    clip_low, clip_high, dual_clip: bounds of the ratio pi / pi_old, 1 - low to 1 + high (`losses.ppo_clip`)
    aggregation, l_max, count_masked: from tokens to the batch (`losses.sequence_weights`, `Totals.of`)
    overlong, drop_no_signal: which trajectories count (`filters`)
    kl, kl_coef: penalty towards a reference model, a key of KL_TERMS;  entropy_coef: bonus
    old_logprobs: pi_old is the policy that sampled ("rollout", free), or the learner's at the start of the batch
    ("learner", one more forward unless the batch is one optimiser step); tis_cap then bounds pi_old / pi_rollout
    """

    name: str
    advantage: str = "grpo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    aggregation: Aggregation = "token-mean"
    l_max: float | None = None
    count_masked: bool = False
    overlong: Overlong = "penalise"
    drop_no_signal: bool = False
    kl: str = ""
    kl_coef: float = 0.0
    entropy_coef: float = 0.0
    old_logprobs: Literal["rollout", "learner"] = "rollout"
    tis_cap: float | None = None

    def __post_init__(self) -> None:
        for what, value, known in (
            ("advantage", self.advantage, tuple(ADVANTAGES)),
            ("aggregation", self.aggregation, AGGREGATIONS),
            ("overlong", self.overlong, ("penalise", "mask", "drop")),
            ("old_logprobs", self.old_logprobs, ("rollout", "learner")),
            ("kl", self.kl, ("", *KL_TERMS)),
        ):
            if value not in known:
                raise _unknown(f"recipe '{self.name}' has {what} '{value}'", value, known)
        self._refuse_what_cannot_be()

    def _refuse_what_cannot_be(self) -> None:
        """Bounds, and settings that would do nothing or lack their other half."""
        for wrong, cause in (
            (not 0 <= self.clip_low <= 1 or self.clip_high < 0, "clip_low must lie in 0..1, clip_high at 0 or above"),
            (self.dual_clip is not None and self.dual_clip <= 1, "dual_clip must be above 1"),
            ((self.aggregation == "seq-mean-token-sum-norm") != (self.l_max is not None),
             "l_max goes with aggregation 'seq-mean-token-sum-norm' and only with it"),
            (self.l_max is not None and self.l_max <= 0, "l_max must be above 0"),
            (self.count_masked and self.aggregation == "token-mean", "count_masked does nothing with 'token-mean'"),
            (bool(self.kl) != (self.kl_coef > 0), "kl and a kl_coef above 0 need each other"),
            (self.tis_cap is not None and self.old_logprobs == "rollout", "tis_cap needs old_logprobs 'learner'"),
            (self.tis_cap is not None and self.tis_cap <= 0, "tis_cap must be above 0"),
        ):  # fmt: skip
            if wrong:
                raise ConfigError(f"recipe '{self.name}': {cause}", way_out="change or leave out that setting")

    def override(self, **parts: Any) -> Recipe:
        """A new recipe with some parts replaced; ConfigError names the nearest part for an unknown one."""
        known = tuple(f.name for f in fields(self))
        for part in parts:
            if part not in known:
                raise _unknown(f"a recipe has no part '{part}'", part, known)
        return replace(self, **parts)


def _unknown(cause: str, name: str, known: tuple[str, ...]) -> ConfigError:
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    nearest = f"did you mean '{near[0]}'? " if near else ""
    return ConfigError(cause, way_out=f"{nearest}known: {', '.join(k for k in known if k)}")


RECIPES = {
    recipe.name: recipe
    for recipe in (
        # arXiv 2402.03300, without the KL penalty of the paper (add kl="k3", kl_coef=0.04 for it).
        Recipe("grpo", advantage="grpo", aggregation="seq-mean-token-mean"),
        # arXiv 2503.20783.
        Recipe("dr_grpo", advantage="dr_grpo", aggregation="seq-mean-token-sum-norm", l_max=1024),
        # arXiv 2503.14476; its length penalty is a part of the reward.
        Recipe("dapo", advantage="grpo", clip_high=0.28, drop_no_signal=True),
        # DeepSWE's GRPO++: clip-high, leave-one-out, no spread, constant length norm, compact filtering, no KL loss,
        # no entropy loss.
        Recipe(
            "grpo_pp",
            advantage="rloo",
            clip_high=0.28,
            aggregation="seq-mean-token-sum-norm",
            l_max=1024,
            overlong="mask",
            drop_no_signal=True,
        ),
    )
}


def recipe(name: str, **parts: Any) -> Recipe:
    """A named recipe with some parts replaced; ConfigError names the nearest for an unknown name.

    >>> recipe("grpo_pp", clip_low=0.1).clip_low
    0.1
    """
    if name not in RECIPES:
        raise _unknown(f"no recipe '{name}'", name, tuple(RECIPES))
    return RECIPES[name].override(**parts)
