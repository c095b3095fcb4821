"""Optimiser steps, supervised and by a recipe, exact under micro-batching and exactly resumable."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from repodojo.algorithms.recipe import Recipe
from repodojo.core.errors import ConfigError, RunError
from repodojo.core.records import Batch, Sample
from repodojo.learner import memory, optim
from repodojo.learner.critic import Critic, CriticSettings, count_starts, returns_of, turn_starts
from repodojo.learner.entropy import EntropyControl
from repodojo.learner.figures import summary
from repodojo.learner.logprobs import packed_logprobs, packed_rows, project
from repodojo.learner.objective import PerToken, Sums, policy_loss, rollout_logprobs, terms
from repodojo.learner.optim import OptimizerSettings
from repodojo.learner.packing import Pack, groups_of, micro_batches
from repodojo.learner.parallel import Ranks, full, whole
from repodojo.learner.policy import Policy

Metrics = dict[str, float]


class Learner:
    """Changes a model's weights.

    decoder: the model; sharded over processes by `parallel.shard`, `ranks` says which of them this is
    dtype: "bfloat16" runs the forward under autocast (weights and optimiser stay float32)
    token_budget: rows computed at a time, the bound on memory; changes no result
    recompute: gradient checkpointing: less memory for a third more computing; changes no result
    reference: the frozen model that a recipe's KL penalty pulls towards
    max_skips: steps in a row with a non-finite loss or gradient before the run is stopped (RunError)
    """

    def __init__(
        self,
        decoder: Policy,
        *,
        optimizer: OptimizerSettings | None = None,
        dtype: Literal["float32", "bfloat16"] = "float32",
        token_budget: int = 8192,
        recompute: bool = False,
        reference: Policy | None = None,
        seed: int = 0,
        max_skips: int = 3,
        ranks: Ranks | None = None,
    ) -> None:
        self.decoder = decoder
        decoder.recompute = recompute
        self.settings = optimizer or OptimizerSettings()
        self.reference = reference
        self.step = 0
        self.skipped = 0
        self._dtype, self._budget, self._max_skips = dtype, token_budget, max_skips
        self._skipped_in_a_row, self.ranks = 0, ranks or Ranks()
        if self.ranks.count > 1 and self.settings.kind == "muon":
            raise ConfigError("Muon needs whole matrices, which no rank holds", way_out="use adamw over processes")
        self.critic: Critic | None = None
        self._entropy = EntropyControl()
        self._optimizers = optim.build(decoder, self.settings)
        self._generator = torch.Generator().manual_seed(seed)

    def sft_step(self, samples: Sequence[Sample], weights: Sequence[float] | None = None) -> Metrics:
        """One step on the mean of -log pi over action tokens, each counted with its sample's weight (default 1)."""
        started = time.perf_counter()
        weight_S = torch.ones(len(samples)) if weights is None else torch.tensor(list(weights), dtype=torch.float32)
        tokens_S = torch.tensor([sum(s.loss_mask) for s in samples], dtype=torch.float32)
        if len(weight_S) != len(samples):
            raise ConfigError(f"{len(samples)} samples, {len(weight_S)} weights", way_out="give one weight a sample")
        share_S = weight_S / max(float((weight_S.double() * tokens_S).sum()), 1e-12)

        def loss(pack: Pack) -> Tensor:
            logprobs_A, _ = packed_logprobs(self.decoder, pack, entropy=False)
            return -(logprobs_A * share_S[pack.sample_A.cpu()].to(logprobs_A.device)).sum()

        metrics = self._optimise(micro_batches(samples, self._budget), loss)
        return {**metrics, "seconds": time.perf_counter() - started}

    def rl_step(self, batch: Batch, recipe: Recipe, minibatches: int = 1) -> Metrics:
        """One pass over the batch in `minibatches` optimiser steps, each on whole groups, drawn by the seed.

        Metrics are means over action tokens, sums for tokens and rows, the worst for maxima. `mismatch_*` compares
        the rollout's log-probs with the learner's own before its first step: |difference|. `effective_sample_size` is
        the share (sum w)^2 / (n sum w^2) of the tokens' ratios w = pi / pi_old.
        """
        started = time.perf_counter()
        if recipe.kl and self.reference is None:
            raise ConfigError(f"recipe '{recipe.name}' has a KL term", way_out="give the learner a reference model")
        parts = self._minibatches(batch.samples, minibatches)
        sums = Sums()
        steps: list[Metrics] = []
        olds: list[PerToken | None] = [None] * len(parts)
        if recipe.old_logprobs == "learner" and len(parts) > 1:
            olds = [self.logprobs(self.decoder, samples) for samples in parts]
        for number, (samples, old) in enumerate(zip(parts, olds, strict=True)):
            reference = self.logprobs(self.reference, samples) if recipe.kl and self.reference is not None else None
            alpha = self._entropy.alpha(recipe)
            given = terms(samples, recipe, rollout_logprobs(samples), old, reference, entropy_coef=alpha)

            valued = self._value_loss(samples, recipe)

            def loss(pack: Pack, given: Any = given, first: bool = number == 0, valued: Any = valued) -> Tensor:
                rows = packed_rows(self.decoder, pack)
                logprobs_A, entropy_A = project(rows, self.decoder.output_weight, pack.target_A)
                if first:
                    difference_A = (logprobs_A.detach() - given.rollout.of(pack).to(logprobs_A.device)).abs()
                    sums.add(mismatch_mean=difference_A, mismatch_tokens=torch.ones_like(difference_A))
                    sums.raise_to(mismatch_max=difference_A)
                total = policy_loss(logprobs_A, entropy_A, pack, given, sums)
                return total + valued(rows, pack, sums) if valued else total

            steps.append(self._optimise(micro_batches(samples, self._budget), loss))
        everyone = sums.merged(self.ranks.gather(sums))
        return {**self._entropy.update(recipe, summary(steps, everyone)), "seconds": time.perf_counter() - started}

    def logprobs(self, decoder: Policy, samples: Sequence[Sample]) -> PerToken:
        """Log-probs of the samples' action tokens under `decoder`, without gradients."""
        found = PerToken(samples)
        with torch.no_grad(), self._autocast():
            for pack, counts in self.ranks.deal(micro_batches(samples, self._budget)):
                logprobs_A, _ = packed_logprobs(decoder, pack.to(self._device), entropy=False)
                found.values_T[found.index(pack)] = logprobs_A.float().cpu() * counts
        self.ranks.sum(found.values_T)
        return found

    def learn_values(self, settings: CriticSettings) -> None:
        """Train a critic beside the policy in steps of recipes with advantage "gae"; one that is there goes on."""
        if self.critic is None:
            self.critic = Critic(self.decoder.architecture.hidden, settings, self._device)
        self.critic.settings = settings

    def values(self, samples: Sequence[Sample]) -> list[list[float]]:
        """The critic's V before each turn (stretch of action tokens) of each sample; ConfigError without a critic."""
        if self.critic is None:
            raise ConfigError("this learner has no critic", way_out="call learn_values first")
        found: list[list[tuple[int, float]]] = [[] for _ in samples]
        with torch.no_grad(), self._autocast():
            for pack in micro_batches(samples, self._budget):
                first_A = turn_starts(pack)
                value_K = self.critic.values(packed_rows(self.decoder, pack.to(self._device))[first_A.to(self._device)])
                places = zip(pack.sample_A[first_A].tolist(), pack.offset_A[first_A].tolist(), strict=True)
                for (sample, offset), value in zip(places, value_K.tolist(), strict=True):
                    found[sample].append((offset, value))
        return [[value for _, value in sorted(own)] for own in found]

    def retune(self, settings: OptimizerSettings) -> None:
        """Go on with other settings of the same kind of optimiser; its state and the count of steps stay."""
        if settings.kind != self.settings.kind:
            raise ConfigError("another kind of optimiser cannot go on with this state", way_out="begin a new run")
        self.settings = settings
        optim.retune(self._optimizers, settings)

    def weights(self) -> dict[str, Tensor]:
        """Copies of all weights under their Hugging Face names, for a WeightSink."""
        return whole(self.decoder.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs besides the weights."""
        return {
            "step": self.step,
            "skipped": self.skipped,
            "skipped_in_a_row": self._skipped_in_a_row,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "generator": self._generator.get_state(),
            "entropy": self._entropy.state(),
            "critic": self.critic.state() if self.critic else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken; ConfigError where the optimiser differs."""
        if len(state["optimizers"]) != len(self._optimizers):
            raise ConfigError(
                "the saved state is of another optimiser", way_out="resume with the settings it began with"
            )
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.skipped = int(state["step"]), int(state["skipped"])
        self._skipped_in_a_row = int(state["skipped_in_a_row"])
        self._generator.set_state(state["generator"])
        self._entropy.restore(state.get("entropy"))
        if critic := state.get("critic"):
            self.learn_values(CriticSettings())
            assert self.critic is not None
            self.critic.restore(critic)

    # ------------------------------------------------------------ one optimiser step

    def _value_loss(self, samples: Sequence[Sample], recipe: Recipe) -> Callable[[Tensor, Pack, Sums], Tensor] | None:
        """The critic's share of a pack's loss, None where the recipe has no critic."""
        if self.critic is None or recipe.advantage != "gae":
            return None
        critic, returns, starts = self.critic, returns_of(samples), count_starts(samples)
        return lambda rows, pack, sums: critic.loss(rows, pack, returns, starts, sums)

    def _optimise(self, packs: Sequence[Pack], loss: Callable[[Pack], Tensor]) -> Metrics:
        """Gradients of all packs, then one step, or none where a number is not finite."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        if self.critic:
            self.critic.clear()
        total = 0.0
        for pack, counts in self.ranks.deal(packs):
            with self._autocast():
                part = loss(pack.to(self._device)) if counts else self._nothing(pack.to(self._device))
            part.backward()  # type: ignore[no-untyped-call]
            total += float(part.detach())
        total = self.ranks.total(total)
        rows = [pack.rows for pack in packs]
        metrics = {
            "loss": total,
            "tokens": float(sum(pack.target_A.numel() for pack in packs)),
            "rows": float(sum(rows)),
            "memory_mb": self._memory(max(rows, default=0)),
            "grad_norm": 0.0,
            "skipped": 0.0,
        }
        if packs:
            norm = torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), self.settings.grad_clip)
            metrics["grad_norm"] = float(full(norm))
            metrics["skipped"] = float(not self._apply(total, metrics["grad_norm"]))
            if self.critic and not metrics["skipped"]:
                self.critic.step(self.ranks)
        metrics["learning_rate"] = self._optimizers[0].param_groups[0]["lr"]
        return metrics

    def _nothing(self, pack: Pack) -> Tensor:
        """A loss of 0 that gathers the weights and their gradients like any other."""
        return packed_logprobs(self.decoder, pack, entropy=False)[0].sum() * 0.0

    def _memory(self, rows: int) -> float:
        """MiB that a step with micro-batches of `rows` rows holds (`learner.memory`); of all ranks' weights."""
        moments = 1 if self.settings.kind == "muon" else 2
        held = memory.of_step(self.decoder.architecture, rows, recompute=self.decoder.recompute, moments=moments)
        return held.total / 2**20

    def _apply(self, loss: float, norm: float) -> bool:
        """Step unless loss or gradient are not finite; RunError when that repeats."""
        if not (abs(loss) < float("inf") and norm < float("inf")):
            self.skipped += 1
            self._skipped_in_a_row += 1
            if self._skipped_in_a_row >= self._max_skips:
                cause = f"{self._skipped_in_a_row} steps in a row had a non-finite loss ({loss}) or gradient ({norm})"
                raise RunError(cause, way_out="go back to an earlier checkpoint with a lower learning rate")
            return False
        optim.set_rate(self._optimizers, self.settings.factor(self.step))
        for optimizer in self._optimizers:
            optimizer.step()
        self.step += 1
        self._skipped_in_a_row = 0
        return True

    def _minibatches(self, samples: Sequence[Sample], count: int) -> list[list[Sample]]:
        """Whole groups in drawn order, dealt into `count` parts of near-equal numbers of groups."""
        groups = groups_of(samples, range(len(samples)))
        count = max(1, min(count, len(groups)))
        order = torch.randperm(len(groups), generator=self._generator).tolist()
        bounds = [len(groups) * part // count for part in range(count + 1)]
        return [[samples[i] for k in order[a:b] for i in groups[k]] for a, b in itertools.pairwise(bounds)]

    @property
    def _device(self) -> torch.device:
        return self.decoder.output_weight.device

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)
