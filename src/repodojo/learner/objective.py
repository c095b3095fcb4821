"""The loss of one pack, supervised or by a recipe, as its share of the loss of the whole batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from repodojo.algorithms.corrections import correction, off_policy_mask, veto
from repodojo.algorithms.losses import KL_TERMS, Clipped, Totals, cispo, gspo, ppo_clip, sequence_weights, topr
from repodojo.algorithms.losses.clip import LOG_RATIO_LIMIT
from repodojo.algorithms.recipe import Recipe
from repodojo.core.errors import ConfigError
from repodojo.core.records import Sample
from repodojo.learner.packing import Pack


class PerToken:
    """One number for each token of each sample, looked up by a pack's action tokens."""

    def __init__(self, samples: Sequence[Sample], values: Iterable[Sequence[float]] | None = None) -> None:
        lengths = torch.tensor([0, *(len(s.token_ids) for s in samples)])
        self._start_S = lengths.cumsum(0)
        self.values_T = torch.zeros(int(self._start_S[-1]))
        if values is not None:
            self.values_T = torch.tensor([x for sequence in values for x in sequence], dtype=torch.float32)

    def index(self, pack: Pack) -> Tensor:
        """Positions [A] of the pack's action tokens in `values_T`."""
        return self._start_S[pack.sample_A.cpu()] + pack.offset_A.cpu()

    def of(self, pack: Pack) -> Tensor:
        """Values [A]."""
        return self.values_T[self.index(pack)]


@dataclass(frozen=True)
class Terms:
    """What the loss of a recipe needs besides the policy's log-probs; S samples.

    weight_S: of every token of a sample (`losses.sequence_weights`);  advantage, rollout, old, reference: advantages
    and log-probs by token, None for `old` where it is the policy itself before its only step
    entropy_coef: alpha of L -= alpha H
    """

    recipe: Recipe
    weight_S: Tensor
    advantage: PerToken
    rollout: PerToken
    old: PerToken | None
    reference: PerToken | None
    entropy_coef: float


@dataclass
class Sums:
    """Sums over action tokens, from which the metrics of a step are made."""

    values: dict[str, float] = field(default_factory=dict)
    highest: dict[str, float] = field(default_factory=dict)

    def add(self, **tensors_A: Tensor) -> None:
        """Add up each tensor's elements."""
        for name, tensor in tensors_A.items():
            self.values[name] = self.values.get(name, 0.0) + float(tensor.sum())

    def raise_to(self, **tensors_A: Tensor) -> None:
        """Keep the highest element of each tensor."""
        for name, tensor in tensors_A.items():
            if tensor.numel():
                self.highest[name] = max(self.highest.get(name, float("-inf")), float(tensor.max()))

    @staticmethod
    def merged(parts: Iterable[Sums]) -> Sums:
        """The sums of several ranks as one."""
        whole = Sums()
        for part in parts:
            for name, value in part.values.items():
                whole.values[name] = whole.values.get(name, 0.0) + value
            for name, value in part.highest.items():
                whole.highest[name] = max(whole.highest.get(name, float("-inf")), value)
        return whole


def terms(
    samples: Sequence[Sample],
    recipe: Recipe,
    rollout: PerToken,
    old: PerToken | None,
    reference: PerToken | None,
    *,
    entropy_coef: float | None = None,
    totals: Totals | None = None,
) -> Terms:
    """Everything of a minibatch that its micro-batches share, the global denominators among it.

    entropy_coef: None for the recipe's own.  totals: of the whole batch where `samples` are one process's share of it;
    the shares' losses and gradients then add up to those of the whole.
    """
    tokens_S = torch.tensor([sum(s.loss_mask) for s in samples], dtype=torch.float64)
    totals = totals or Totals.of(tokens_S, count_masked=recipe.count_masked)
    weight_S = sequence_weights(recipe.aggregation, tokens_S, totals, l_max=recipe.l_max).float()
    advantage = PerToken(samples, (s.token_advantages or (s.advantage,) * len(s.token_ids) for s in samples))
    alpha = recipe.entropy_coef if entropy_coef is None else entropy_coef
    return Terms(recipe, weight_S, advantage, rollout, old, reference, alpha)


def rollout_logprobs(samples: Sequence[Sample]) -> PerToken:
    """Log-probs of the policy that sampled; ConfigError where a sample lacks them."""
    for s in samples:
        if len(s.logprobs) != len(s.token_ids):
            cause = f"a sample of group '{s.group_id}' has {len(s.token_ids)} tokens and {len(s.logprobs)} log-probs"
            raise ConfigError(cause, way_out="give one log-prob a token, 0 where nothing was sampled")
    return PerToken(samples, (s.logprobs for s in samples))


def policy_loss(logprobs_A: Tensor, entropy_A: Tensor, pack: Pack, terms: Terms, sums: Sums) -> Tensor:
    """The pack's share of the minibatch's loss; its figures are added to `sums`."""
    recipe, device = terms.recipe, logprobs_A.device
    rollout_A = terms.rollout.of(pack).to(device)
    old_A = rollout_A if recipe.old_logprobs == "rollout" else logprobs_A.detach()
    if recipe.old_logprobs == "learner" and terms.old is not None:
        old_A = terms.old.of(pack).to(device)
    weight_A = terms.weight_S[pack.sample_A.cpu()].to(device)
    advantage_A = terms.advantage.of(pack).to(device)
    clipped = surrogate(recipe, logprobs_A, old_A, advantage_A, pack.sample_A)
    factor_A = _factor(recipe, logprobs_A, old_A, rollout_A, advantage_A, pack.sample_A)
    loss_A = clipped.loss_A
    if factor_A is not None:
        loss_A = loss_A * factor_A
        sums.add(correction_weight=factor_A, corrected_away=(factor_A == 0).float())
    if recipe.kl and terms.reference is not None:
        kl_A = KL_TERMS[recipe.kl](logprobs_A, terms.reference.of(pack).to(device))
        loss_A = loss_A + recipe.kl_coef * kl_A
        sums.add(reference_kl=kl_A.detach())
    if terms.entropy_coef:
        loss_A = loss_A - terms.entropy_coef * entropy_A
    log_ratio_A = (logprobs_A.detach() - old_A).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    ratio_A = log_ratio_A.exp()
    sums.add(
        clip_fraction=clipped.clipped_A.float(),
        entropy=entropy_A.detach(),
        ratio_mean=ratio_A,
        ratio_squared=ratio_A.double() ** 2,
        approx_kl=log_ratio_A.expm1() - log_ratio_A,
    )
    sums.raise_to(ratio_max=ratio_A, inverse_ratio_max=(-log_ratio_A).exp())
    return (loss_A * weight_A).sum()


def surrogate(recipe: Recipe, logprobs_A: Tensor, old_A: Tensor, advantage_A: Tensor, sample_A: Tensor) -> Clipped:
    """The recipe's loss of each token."""
    low, high = recipe.clip_low, recipe.clip_high
    if recipe.loss == "gspo":
        return gspo(logprobs_A, old_A, advantage_A, sample_A, low=low, high=high)
    if recipe.loss == "cispo":
        return cispo(logprobs_A, old_A, advantage_A, high=high)
    if recipe.loss == "topr":
        return topr(logprobs_A, old_A, advantage_A)
    return ppo_clip(logprobs_A, old_A, advantage_A, low=low, high=high, dual=recipe.dual_clip)


def _factor(
    recipe: Recipe, logprobs_A: Tensor, old_A: Tensor, rollout_A: Tensor, advantage_A: Tensor, sample_A: Tensor
) -> Tensor | None:
    """The product of the recipe's off-policy corrections, None where it has none."""
    factors = []
    if recipe.correction:
        low, high = recipe.correction_low, recipe.correction_high
        factors.append(correction(recipe.correction, old_A, rollout_A, sample_A, low, high))
    if recipe.veto is not None:
        factors.append(veto(old_A, rollout_A, sample_A, bound=recipe.veto))
    if recipe.off_policy_delta is not None:
        delta = recipe.off_policy_delta
        factors.append(off_policy_mask(logprobs_A, old_A, advantage_A, sample_A, delta=delta))
    return torch.stack(factors).prod(0) if factors else None
