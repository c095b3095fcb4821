"""The [recipe] section: parts that replace those of the recipe that rl.recipe names, and what a run derives itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from repodojo.train.sections import Agent, Rl, Section

if TYPE_CHECKING:
    from repodojo.algorithms.recipe import Recipe

IN_RL = ("clip_low", "clip_high", "overlong")
"""Parts that [rl] holds."""


def _part(text: str, **bounds: Any) -> Any:
    return Field(None, description=text, **bounds)


class RecipeParts(Section):
    """Parts of the recipe; docs/algorithms.md says what each name means. What is not given is the recipe's own."""

    advantage: str | None = _part("how rewards are compared, e.g. grpo, rloo, opo, gapo, gigpo or gae")
    gapo_tau: float | None = _part("share of a group's rewards in GAPO's interval", gt=0, le=1)
    gapo_centre: str | None = _part("centre of GAPO's interval: median or mean")
    gapo_normalise: bool | None = _part("divide by the deviation from GAPO's centre")
    gigpo_gamma: float | None = _part("discount a turn of GiGPO", ge=0, le=1)
    gigpo_episode_weight: float | None = _part("weight of GiGPO's comparison of whole episodes", ge=0)
    gigpo_step_weight: float | None = _part("weight of GiGPO's comparison of turns", ge=0)
    gae_gamma: float | None = _part("discount a turn of turn-level GAE", ge=0, le=1)
    gae_lam: float | None = _part("lambda of turn-level GAE", ge=0, le=1)
    gae_whiten: bool | None = _part("GAE's advantages to mean 0 and deviation 1 over the turns of a batch")
    critic_lr: float | None = _part("learning rate of GAE's critic head", gt=0)
    value_coef: float | None = _part("share of the critic's gradient that reaches the model; 0: its head alone", ge=0)
    potential: float | None = _part("weight of the visible tests' last verdict as a potential of each turn", gt=0)
    loss: str | None = _part("loss of a token: ppo, gspo, cispo or topr")
    dual_clip: float | None = _part("bound on the loss of bad tokens, times the advantage", gt=1)
    aggregation: str | None = _part("from tokens to the batch, e.g. token-mean or seq-mean-token-sum-norm")
    l_max: float | None = _part("constant length norm of seq-mean-token-sum-norm (tokens)", gt=0)
    count_masked: bool | None = _part("count fully masked sequences in means over sequences")
    drop_no_signal: bool | None = _part("replace groups that were all solved or all failed")
    signal_by: str | None = _part('whether a group has a signal: by the "outcome" of its episodes, or by their "score"')
    drop_zero_advantage: bool | None = _part("leave samples whose advantage is exactly 0 out of the batch")
    mask_format_errors: bool | None = _part("leave turns with a malformed call out of the loss")
    turn_penalty_from: int | None = _part("turns from which the reward falls, to -1 at agent.max_turns; 0: never", ge=0)
    overlong_cache: int | None = _part(
        "tokens before agent.max_context over which the reward falls to -1; 0: never (not given: a fifth of it)", ge=0
    )
    confidence: float | None = _part(
        "weight of a proper score of the probability stated at submit, 0 at best, -1 at worst", ge=0, lt=0.5
    )
    confidence_score: str | None = _part('that score: "brier" or "log"')
    kl: str | None = _part("penalty towards the model that RL began with: k1, k2 or k3")
    kl_coef: float | None = _part("weight of that penalty", gt=0)
    entropy_coef: float | None = _part("weight of the entropy bonus", ge=0)
    entropy_target: float | None = _part("entropy that an adaptive bonus holds (nats a token)", ge=0)
    entropy_step: float | None = _part("change of the adaptive bonus a batch", gt=0)
    old_logprobs: str | None = _part('log-probs that ratios are taken to: those of the "rollout" or of the "learner"')
    correction: str | None = _part("weight of tokens: decoupled, tis, icepop, mis_token, mis_sequence or geometric")
    correction_low: float | None = _part("lower bound of the correction", gt=0)
    correction_high: float | None = _part("upper bound of the correction", gt=0)
    veto: float | None = _part("mask sequences with any token's ratio below this", gt=0)
    off_policy_delta: float | None = _part("mask bad sequences whose mean log-prob fell by more (nats)", gt=0)


def resolve(rl: Rl, parts: RecipeParts, agent: Agent) -> Recipe:
    """The recipe of a run: the named row, what is given in its place, and limits of the agent where a penalty has one.

    ConfigError for what does not exist, cannot be, or would do nothing.
    """
    from repodojo.algorithms.recipes import RECIPES, recipe  # imports torch, which reading a run must not wait for

    given: dict[str, Any] = {part: getattr(rl, part) for part in IN_RL} | parts.model_dump()
    given = {part: value for part, value in given.items() if value is not None}
    for switch in ("turn_penalty_from", "overlong_cache"):
        if given.get(switch) == 0:
            given[switch] = None
    row = RECIPES.get(rl.recipe)
    if given.get("turn_penalty_from", row and row.turn_penalty_from) is not None:
        given["turn_limit"] = agent.max_turns
    if given.get("overlong_cache", row and row.overlong_cache) is not None:
        given = {"overlong_cache": max(agent.max_context // 5, 1)} | given | {"overlong_limit": agent.max_context}
    return recipe(rl.recipe, **given)
