"""The critic: its gradient by hand, what it leaves alone, saving, and a toy task on which it learns."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_steps import ADAMW, decoder, samples

from repodojo.algorithms.batches import assemble, sample
from repodojo.algorithms.recipes import recipe
from repodojo.algorithms.turn_credit import turn_credit, verdicts
from repodojo.core.errors import ConfigError
from repodojo.core.records import Batch, Group, Sample, Score, ToolResult, Trajectory, Turn
from repodojo.learner import checkpoints
from repodojo.learner.critic import CriticSettings, count_starts, returns_of, turn_starts
from repodojo.learner.logprobs import packed_rows
from repodojo.learner.objective import Sums
from repodojo.learner.packing import micro_batches, pack
from repodojo.learner.steps import Learner

GAE = recipe("dapo", advantage="gae", drop_no_signal=False, overlong_cache=None)


def valued(seed: int = 0) -> list[Sample]:
    """Samples whose turns have returns: the position of their first token, scaled."""
    found = []
    for s in samples(seed=seed):
        at, returns = 0.0, []
        for k, m in enumerate(s.loss_mask):
            at = k / 10 if m and not s.loss_mask[k - 1] else at
            returns.append(at if m else 0.0)
        found.append(replace(s, token_returns=tuple(returns)))
    return found


def test_starts_of_turns_are_those_of_the_masks() -> None:
    given = valued()
    whole = pack(given)
    assert int(turn_starts(whole).sum()) == count_starts(given) > len(given)
    for place in turn_starts(whole).nonzero()[:, 0].tolist():
        s, k = given[int(whole.sample_A[place])], int(whole.offset_A[place])
        assert s.loss_mask[k] and not s.loss_mask[k - 1]


@pytest.mark.parametrize("coef", [0.0, 0.5])
def test_the_gradient_is_that_of_the_mean_squared_error(coef: float) -> None:
    given = valued()
    learner = Learner(decoder(), optimizer=ADAMW, token_budget=40)
    learner.learn_values(CriticSettings(coef=coef))
    critic = learner.critic
    assert critic is not None
    torch.nn.init.normal_(critic.head.weight)
    for part in micro_batches(given, 40):  # in parts, as a step does
        critic.loss(packed_rows(learner.decoder, part), part, returns_of(given), count_starts(given), Sums()).backward()
    head, body = critic.head.weight.grad, learner.decoder.output_weight.grad
    critic.clear()
    for p in learner.decoder.parameters():
        p.grad = None
    whole = pack(given)
    first = turn_starts(whole)
    rows = packed_rows(learner.decoder, whole)[first]
    value = rows @ critic.head.weight[0] + critic.head.bias
    wanted = torch.tensor([given[s].token_returns[k] for s, k in zip(whole.sample_A, whole.offset_A, strict=True)])
    (0.5 * ((value - wanted[first]) ** 2).mean()).backward()
    assert head is not None and torch.allclose(head, critic.head.weight.grad, atol=1e-5)  # type: ignore[arg-type]
    if coef:
        assert body is not None
        assert torch.allclose(body, coef * learner.decoder.output_weight.grad, atol=1e-5)  # type: ignore[operator]
    else:
        assert body is None


def test_a_critic_that_keeps_to_its_head_changes_no_bit_of_the_policy() -> None:
    with_it, without = (Learner(decoder(), optimizer=ADAMW) for _ in range(2))
    with_it.learn_values(CriticSettings())
    plain = recipe("dapo", drop_no_signal=False, overlong_cache=None)
    found = with_it.rl_step(Batch(tuple(valued()), 0), GAE, minibatches=2)
    without.rl_step(Batch(tuple(valued()), 0), plain, minibatches=2)
    for name, weight in without.weights().items():
        assert torch.equal(weight, with_it.weights()[name]), name
    assert found["value_loss"] > 0 and with_it.critic and bool(with_it.critic.head.weight.any())


def test_it_learns_to_foretell_and_goes_on_after_saving(tmp_path: Path) -> None:
    given = valued()
    learner = Learner(decoder(), optimizer=replace(ADAMW, learning_rate=1e-5))
    learner.learn_values(CriticSettings(learning_rate=0.05))
    losses = [learner.rl_step(Batch(tuple(given), 0), GAE)["value_loss"] for _ in range(25)]
    assert losses[-1] < 0.2 * losses[0]
    checkpoints.save(learner, tmp_path / "c")
    again = checkpoints.load(tmp_path / "c", optimizer=replace(ADAMW, learning_rate=1e-5))[0]
    again.learn_values(CriticSettings(learning_rate=0.05))
    assert again.values(given) == learner.values(given)
    for one in (learner, again):
        one.rl_step(Batch(tuple(given), 0), GAE)
    assert again.values(given) == learner.values(given)
    with pytest.raises(ConfigError, match="no critic"):
        Learner(decoder()).values(given)


def played(name: str, reward: float, *passed: bool | None) -> Trajectory:
    """A turn for each entry: the visible tests passed, failed, or did not run."""
    turns = tuple(
        Turn(
            (1 + k, 2),
            (3, 4 + k),
            (-0.1, -0.2),
            (0, 0),
            results=(ToolResult("", tests_run=p is not None, passed=bool(p)),),
        )
        for k, p in enumerate(passed)
    )
    return Trajectory(name, "t", "g", "p", 0, turns, "submit", Score(reward))


def test_turn_credit_is_gae_by_hand_and_a_potential_pays_progress_when_it_is_made() -> None:
    one = played("a", 1.0, False, True, None)
    assert verdicts(one) == [0.0, 0.0, 1.0]
    row, paid = recipe("grpo", advantage="gae", gae_gamma=1.0, gae_lam=0.0, gae_whiten=False), np.ones(1)
    found = turn_credit([one], paid, row, [[0.2, 0.3, 0.6]])
    assert found.advantages[0] == pytest.approx((0.1, 0.3, 0.4)) and found.returns[0] == pytest.approx((0.3, 0.6, 1.0))
    shaped = turn_credit([one], paid, row.override(potential=0.5), [[0.0, 0.0, 0.0]])
    assert shaped.advantages[0] == pytest.approx((0.0, 0.5, 0.5))
    total = turn_credit(
        [one], torch.tensor([1.0]).double().numpy(), row.override(potential=0.5, gae_lam=1.0), [[0.0] * 3]
    )
    assert total.advantages[0][0] == pytest.approx(1.0)  # what the whole episode is paid does not change


def test_whitening_is_of_advantages_and_never_of_what_the_critic_learns() -> None:
    both, values = [played("a", 1.0, False, True, None), played("b", 0.0, None)], [[0.2, 0.3, 0.6], [0.4]]
    plain, white = (
        turn_credit(both, np.array([1.0, 0.0]), recipe("grpo", advantage="gae", gae_whiten=flag), values)
        for flag in (False, True)
    )
    assert white.returns == plain.returns
    flat = [a for own in plain.advantages for a in own]
    mean, std = sum(flat) / 4, statistics.stdev(flat)
    assert [a for own in white.advantages for a in own] == pytest.approx([(a - mean) / (std + 1e-6) for a in flat])


def test_a_batch_needs_a_critic_and_carries_what_it_is_to_learn() -> None:
    group = Group("g", "t", (played("a", 1.0, None, True), played("b", 0.0, None)))
    row = recipe("grpo", advantage="gae")
    with pytest.raises(ConfigError, match="critic"):
        assemble([group], row, 0)
    batch = assemble([group], row, 0, lambda ts: [[0.25] * len(t.turns) for t in ts]).batch
    assert [s.token_returns for s in batch.samples][1] == (0.0, 0.0, 0.0, 0.0)
    first = batch.samples[0]
    assert first.token_returns[2] == first.token_returns[3] and len(first.token_returns) == len(first.token_ids)
    assert sample(group.trajectories[0]).token_returns == ()
