"""What a recipe is made of, and which parts need which: a part that would do nothing is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any, Literal

from rapidfuzz import process
from rapidfuzz.distance import OSA

from repodojo.algorithms.advantages import ADVANTAGES
from repodojo.algorithms.advantages.gapo import Centre
from repodojo.algorithms.corrections import CORRECTIONS
from repodojo.algorithms.filters import Overlong, SignalBy
from repodojo.algorithms.losses import AGGREGATIONS, KL_TERMS, LOSSES
from repodojo.algorithms.losses.aggregate import Aggregation
from repodojo.core.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """How rewards become gradients; docs/algorithms.md has a line for each name.

    advantage: a key of ADVANTAGES, or gae;  gapo_*, gigpo_*: options of those two
    loss: one of LOSSES;  clip_low, clip_high, dual_clip: bounds of the ratio pi / pi_old, 1 - low to 1 + high
    aggregation, l_max, count_masked: from tokens to the batch (`losses.sequence_weights`, `Totals.of`)
    overlong, drop_no_signal, drop_zero_advantage, mask_format_errors: what counts (`filters`);  signal_by: a group has
    a signal where outcomes differ, or, for tasks that pay by degree, where scores do
    turn_penalty_from, turn_limit: Golubev's penalty on turns;  overlong_cache, overlong_limit: DAPO's on tokens of the
    conversation (`shaping`); a run sets both limits to those of its agent
    confidence: weight of a proper score of the probability that the agent stated, confidence_score "brier" or "log"
    gae_gamma, gae_lam, gae_whiten, critic_lr, value_coef: advantage "gae" and its critic (`learner.critic`);
    potential: weight of the visible tests' last verdict as a potential of each turn (`shaping.potential`)
    kl, kl_coef: penalty towards a reference model, a key of KL_TERMS
    entropy_coef: bonus, with entropy_target and entropy_step an adaptive one that begins there (`entropy`)
    old_logprobs: pi_old is the policy that sampled ("rollout", free), or the learner's at the start of the batch
    ("learner", one more forward unless the batch is one optimiser step); correction (a key of CORRECTIONS) with its
    bounds, and veto, then weigh tokens by pi_old / pi_rollout
    off_policy_delta: sequences with A < 0 that the policy has left behind by more are masked
    """

    name: str
    advantage: str = "grpo"
    gapo_tau: float = 0.5
    gapo_centre: Centre = "median"
    gapo_normalise: bool = True
    gigpo_gamma: float = 0.95
    gigpo_episode_weight: float = 1.0
    gigpo_step_weight: float = 1.0
    gae_gamma: float = 1.0
    gae_lam: float = 0.95
    gae_whiten: bool = True
    critic_lr: float = 1e-3
    value_coef: float = 0.0
    potential: float = 0.0
    loss: str = "ppo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    aggregation: Aggregation = "token-mean"
    l_max: float | None = None
    count_masked: bool = False
    overlong: Overlong = "penalise"
    drop_no_signal: bool = False
    signal_by: SignalBy = "outcome"
    drop_zero_advantage: bool = False
    mask_format_errors: bool = False
    turn_penalty_from: int | None = None
    turn_limit: int | None = None
    overlong_cache: int | None = None
    overlong_limit: int | None = None
    confidence: float = 0.0
    confidence_score: Literal["brier", "log"] = "brier"
    kl: str = ""
    kl_coef: float = 0.0
    entropy_coef: float = 0.0
    entropy_target: float | None = None
    entropy_step: float = 0.001
    old_logprobs: Literal["rollout", "learner"] = "rollout"
    correction: str = ""
    correction_low: float | None = None
    correction_high: float | None = None
    veto: float | None = None
    off_policy_delta: float | None = None

    def __post_init__(self) -> None:
        for what, value, known in (
            ("advantage", self.advantage, (*ADVANTAGES, "gae")),
            ("gapo_centre", self.gapo_centre, ("median", "mean")),
            ("loss", self.loss, LOSSES),
            ("aggregation", self.aggregation, AGGREGATIONS),
            ("overlong", self.overlong, ("penalise", "mask", "drop")),
            ("signal_by", self.signal_by, ("outcome", "score")),
            ("old_logprobs", self.old_logprobs, ("rollout", "learner")),
            ("confidence_score", self.confidence_score, ("brier", "log")),
            ("kl", self.kl, ("", *KL_TERMS)),
            ("correction", self.correction, ("", *CORRECTIONS)),
        ):
            if value not in known:
                raise unknown(f"recipe '{self.name}' has {what} '{value}'", value, known)
        for wrong, cause in impossible(self):
            if wrong:
                raise ConfigError(f"recipe '{self.name}': {cause}", way_out="change or leave out that setting")
        changed = [f.name for f in fields(self) if f.name != "name" and getattr(self, f.name) != f.default]
        self.refuse_idle(changed)

    def refuse_idle(self, parts: list[str]) -> None:
        """ConfigError for the first of `parts` that does nothing beside the others."""
        for part in parts:
            if why := idle_part(self, part):
                cause = f"recipe '{self.name}': {part} would do nothing: {why}"
                raise ConfigError(cause, way_out="leave it out, or change that")

    def override(self, **parts: Any) -> Recipe:
        """A new recipe with some parts replaced; ConfigError for one that is unknown (naming the nearest) or idle.

        Options of this row that do nothing any more beside the new parts go back to their defaults.
        """
        default: dict[str, Any] = {f.name: f.default for f in fields(self) if f.name != "name"}
        for part in parts:
            if part not in default:
                raise unknown(f"a recipe has no part '{part}'", part, tuple(default))
        mixed: Any = SimpleNamespace(**{name: getattr(self, name) for name in default} | parts)
        idle = {name: value for name, value in default.items() if name not in parts and idle_part(mixed, name)}
        made = replace(self, **idle, **parts)
        made.refuse_idle(list(parts))
        return made


def unknown(cause: str, name: str, known: tuple[str, ...]) -> ConfigError:
    """An error that names what is known and the nearest of it."""
    near = process.extractOne(
        name, known, scorer=OSA.normalized_similarity, score_cutoff=0.4
    )  # 'gpro' is grpo, not gspo
    nearest = f"did you mean '{near[0]}'? " if near else ""
    return ConfigError(cause, way_out=f"{nearest}known: {', '.join(k for k in known if k)}")


def impossible(r: Recipe) -> tuple[tuple[bool, str], ...]:
    """Bounds, and settings that lack their other half: (does it apply, what to say)."""
    return (
        (not 0 <= r.clip_low <= 1 or r.clip_high < 0, "clip_low must lie in 0..1, clip_high at 0 or above"),
        (r.dual_clip is not None and r.dual_clip <= 1, "dual_clip must be above 1"),
        (not 0 < r.gapo_tau <= 1, "gapo_tau must lie above 0 and at most at 1"),
        (not 0 <= r.gigpo_gamma <= 1, "gigpo_gamma must lie in 0..1"),
        (min(r.gigpo_episode_weight, r.gigpo_step_weight) < 0 or r.gigpo_episode_weight + r.gigpo_step_weight <= 0,
         "gigpo_episode_weight and gigpo_step_weight must be at 0 or above, one of them above it"),
        (r.aggregation == "seq-mean-token-sum-norm" and r.l_max is None,
         "aggregation 'seq-mean-token-sum-norm' lacks l_max"),
        (r.l_max is not None and r.l_max <= 0, "l_max must be above 0"),
        (r.loss == "gspo" and r.aggregation != "seq-mean-token-mean",
         "loss 'gspo' is a loss a sequence: it goes with aggregation 'seq-mean-token-mean'"),
        (r.loss == "gspo" and max(r.clip_low, r.clip_high) > 0.05,
         "loss 'gspo' bounds the mean ratio of a sequence, near 1: clip_low 3e-4 and clip_high 4e-4 are usual"),
        (not 0 <= r.gae_gamma <= 1 or not 0 <= r.gae_lam <= 1, "gae_gamma and gae_lam must lie in 0..1"),
        (r.critic_lr <= 0, "critic_lr must be above 0"),
        (min(r.value_coef, r.potential) < 0, "value_coef and potential must be at 0 or above"),
        (not 0 <= r.confidence < 0.5, "confidence must lie in 0..0.5: what failed must stay below what was solved"),
        (bool(r.kl) and r.kl_coef <= 0, "kl needs a kl_coef above 0"),
        (r.kl_coef < 0 or r.entropy_coef < 0, "kl_coef and entropy_coef must be at 0 or above"),
        (r.entropy_step <= 0, "entropy_step must be above 0"),
        (r.turn_penalty_from is not None and not 0 <= r.turn_penalty_from < (r.turn_limit or 0),
         f"turn_penalty_from {r.turn_penalty_from} must lie below the limit of {r.turn_limit} turns"),
        (r.overlong_cache is not None and not 0 < r.overlong_cache <= (r.overlong_limit or 0),
         f"overlong_cache {r.overlong_cache} must lie in 1..overlong_limit ({r.overlong_limit})"),
        (min(x for x in (r.correction_low, r.correction_high, r.veto, r.off_policy_delta, 1.0) if x is not None) <= 0,
         "bounds of corrections must be above 0"),
    )  # fmt: skip


IDLE: tuple[tuple[str, Callable[[Recipe], bool], str], ...] = (
    # parts that begin so, what must hold, what to say where it does not
    ("gapo_", lambda r: r.advantage == "gapo", "advantage is not 'gapo'"),
    ("gigpo_", lambda r: r.advantage == "gigpo", "advantage is not 'gigpo'"),
    ("gae_", lambda r: r.advantage == "gae", "advantage is not 'gae'"),
    ("critic_lr", lambda r: r.advantage == "gae", "only advantage 'gae' has a critic"),
    ("value_coef", lambda r: r.advantage == "gae", "only advantage 'gae' has a critic"),
    ("potential", lambda r: r.advantage == "gae", "a potential cancels out unless turns are credited one by one (gae)"),
    ("confidence_score", lambda r: r.confidence > 0, "confidence is 0"),
    ("clip_low", lambda r: r.loss in ("ppo", "gspo"), "this loss has no lower bound"),
    ("clip_high", lambda r: r.loss != "topr", "loss 'topr' bounds nothing from above"),
    ("dual_clip", lambda r: r.loss == "ppo", "only loss 'ppo' has a dual clip"),
    ("count_masked", lambda r: r.aggregation != "token-mean", "'token-mean' counts no sequences"),
    ("l_max", lambda r: r.aggregation == "seq-mean-token-sum-norm", "only 'seq-mean-token-sum-norm' divides by it"),
    ("kl_coef", lambda r: bool(r.kl), "kl names no term"),
    ("turn_limit", lambda r: r.turn_penalty_from is not None, "turn_penalty_from is not given"),
    ("overlong_limit", lambda r: r.overlong_cache is not None, "overlong_cache is not given"),
    ("signal_by", lambda r: r.drop_no_signal, "groups without signal are not dropped"),
    ("entropy_step", lambda r: r.entropy_target is not None, "without entropy_target the bonus is fixed"),
    ("correction", lambda r: r.old_logprobs == "learner", "with old_logprobs 'rollout' pi_old is what sampled"),
    ("veto", lambda r: r.old_logprobs == "learner", "with old_logprobs 'rollout' pi_old is what sampled"),
    ("correction_low", lambda r: CORRECTIONS.get(r.correction, (None, None))[0] is not None,
     "this correction has no lower bound"),
    ("correction_high", lambda r: CORRECTIONS.get(r.correction, (None, None))[1] is not None,
     "this correction has no upper bound"),
)  # fmt: skip


def idle_part(r: Recipe, part: str) -> str:
    """Why `part` does nothing in this recipe; "" where it does something or is switched off."""
    if getattr(r, part) in (None, ""):
        return ""
    return next((why for start, met, why in IDLE if part.startswith(start) and not met(r)), "")
