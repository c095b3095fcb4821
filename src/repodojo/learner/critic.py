"""A critic: one linear head on the policy's last hidden state, which foretells the return before each turn.

The state before a turn is the row that predicts the turn's first token. The head has an optimiser of its own; its
gradient reaches the body of the model only as far as `coef` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from repodojo.core.records import Sample
from repodojo.learner.objective import PerToken, Sums
from repodojo.learner.packing import Pack
from repodojo.learner.parallel import Ranks


@dataclass(frozen=True)
class CriticSettings:
    """learning_rate: of the head;  coef: what its gradient into the body is multiplied with (0: none)."""

    learning_rate: float = 1e-3
    coef: float = 0.0


class Critic:
    """V of a state, 0 at the start. `settings` may change between steps; the head and its moments stay."""

    def __init__(self, hidden: int, settings: CriticSettings, device: torch.device) -> None:
        self.settings = settings
        self.head = nn.Linear(hidden, 1, device=device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self._optimizer = torch.optim.AdamW(self.head.parameters(), settings.learning_rate, weight_decay=0.0)

    def values(self, rows: Tensor) -> Tensor:
        """Hidden states [A, hidden] to V [A] float32, whatever the autocast."""
        return (rows.float() * self.head.weight[0]).sum(-1) + self.head.bias

    def loss(self, rows: Tensor, pack: Pack, returns: PerToken, starts: int, sums: Sums) -> Tensor:
        """The pack's share of mean (V - R)^2 / 2 over the `starts` turns of the minibatch; figures go to `sums`."""
        first_A = turn_starts(pack).to(rows.device)
        kept, coef = rows[first_A], self.settings.coef
        kept = kept.detach() + coef * (kept - kept.detach()) if coef else kept.detach()
        value_K, return_K = self.values(kept), returns.of(pack).to(rows.device)[first_A]
        error_K = (value_K - return_K) ** 2
        sums.add(
            turn_starts=torch.ones_like(error_K),
            value_error=error_K.detach(),
            value=value_K.detach(),
            turn_return=return_K,
            turn_return_squared=return_K.double() ** 2,
        )
        return error_K.sum() / (2 * max(starts, 1))

    def clear(self) -> None:
        """Forget gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def step(self, ranks: Ranks) -> None:
        """Take a step on the gradients of all ranks; none where nothing was foretold."""
        if ranks.count == 1 and self.head.weight.grad is None:
            return
        for parameter in self.head.parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = ranks.sum(gradient)
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.learning_rate
        nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        self._optimizer.step()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"head": self.head.state_dict(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """As it was saved."""
        self.head.load_state_dict(state["head"])
        self._optimizer.load_state_dict(state["optimizer"])


def turn_starts(pack: Pack) -> Tensor:
    """[A] True for action tokens that begin a turn: those whose token before is none of the same sample's."""
    first_A = torch.ones(pack.offset_A.shape[0], dtype=torch.bool)
    sample_A, offset_A = pack.sample_A.cpu(), pack.offset_A.cpu()
    first_A[1:] = (sample_A[1:] != sample_A[:-1]) | (offset_A[1:] != offset_A[:-1] + 1)
    return first_A


def count_starts(samples: Sequence[Sample]) -> int:
    """Turns that are trained on."""
    masks = (s.loss_mask for s in samples)
    return sum(m and not (k and mask[k - 1]) for mask in masks for k, m in enumerate(mask))


def returns_of(samples: Sequence[Sample]) -> PerToken:
    """The return of each action token's turn."""
    return PerToken(samples, (s.token_returns or (0.0,) * len(s.token_ids) for s in samples))


def summary(sums: Sums) -> dict[str, float]:
    """Figures of the critic in `sums`, taken out of it; nothing where there is none."""
    count = sums.values.pop("turn_starts", 0.0)
    names = ("value_error", "value", "turn_return", "turn_return_squared")
    error, value, paid, squared = (sums.values.pop(name, 0.0) for name in names)
    if not count:
        return {}
    spread = squared - paid**2 / count
    found = {"value_loss": error / count / 2, "value_mean": value / count, "return_mean": paid / count}
    return found | ({"value_explained": 1 - error / spread} if spread > 1e-9 else {})
