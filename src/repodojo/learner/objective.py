"""The loss of one pack, supervised or by a recipe, as its share of the loss of the whole batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from repodojo.algorithms.corrections import tis_weight
from repodojo.algorithms.losses import KL_TERMS, Totals, ppo_clip, sequence_weights
from repodojo.algorithms.losses.clip import LOG_RATIO_LIMIT
from repodojo.algorithms.recipes import Recipe
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

    weight_S: of every token of a sample (`losses.sequence_weights`);  rollout, old, reference: log-probs by token, None
    for `old` where it is the policy itself before its only step
    """

    recipe: Recipe
    weight_S: Tensor
    advantage_S: Tensor
    rollout: PerToken
    old: PerToken | None
    reference: PerToken | None


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
    samples: Sequence[Sample], recipe: Recipe, rollout: PerToken, old: PerToken | None, reference: PerToken | None
) -> Terms:
    """Everything of a minibatch that its micro-batches share, the global denominators among it."""
    tokens_S = torch.tensor([sum(s.loss_mask) for s in samples], dtype=torch.float64)
    totals = Totals.of(tokens_S, count_masked=recipe.count_masked)
    weight_S = sequence_weights(recipe.aggregation, tokens_S, totals, l_max=recipe.l_max).float()
    advantage_S = torch.tensor([s.advantage for s in samples], dtype=torch.float32)
    return Terms(recipe, weight_S, advantage_S, rollout, old, reference)


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
    advantage_A = terms.advantage_S[pack.sample_A.cpu()].to(device)
    clipped = ppo_clip(
        logprobs_A, old_A, advantage_A, low=recipe.clip_low, high=recipe.clip_high, dual=recipe.dual_clip
    )
    loss_A = clipped.loss_A
    if recipe.tis_cap is not None:
        correction_A = tis_weight(old_A, rollout_A, cap=recipe.tis_cap)
        loss_A = loss_A * correction_A
        sums.add(tis_weight=correction_A)
    if recipe.kl and terms.reference is not None:
        kl_A = KL_TERMS[recipe.kl](logprobs_A, terms.reference.of(pack).to(device))
        loss_A = loss_A + recipe.kl_coef * kl_A
        sums.add(reference_kl=kl_A.detach())
    if recipe.entropy_coef:
        loss_A = loss_A - recipe.entropy_coef * entropy_A
    log_ratio_A = (logprobs_A.detach() - old_A).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    sums.add(
        clip_fraction=clipped.clipped_A.float(),
        entropy=entropy_A.detach(),
        ratio_mean=clipped.ratio_A,
        approx_kl=log_ratio_A.expm1() - log_ratio_A,
    )
    sums.raise_to(ratio_max=clipped.ratio_A)
    return (loss_A * weight_A).sum()
