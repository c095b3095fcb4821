"""From groups of trajectories to what one optimiser step consumes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from repodojo.algorithms.advantages import ADVANTAGES
from repodojo.algorithms.advantages.groups import Floats
from repodojo.algorithms.confidence import penalty
from repodojo.algorithms.filters import treat_overlong, with_signal, with_spread
from repodojo.algorithms.recipe import Recipe
from repodojo.algorithms.shaping import overlong_penalty, turn_penalty
from repodojo.algorithms.turn_credit import TurnCredit, turn_credit
from repodojo.core.errors import ConfigError
from repodojo.core.records import Batch, Group, Sample, Trajectory


@dataclass(frozen=True)
class Assembled:
    """The batch, and what became of the trajectories and groups that are not in it, or are in it masked.

    rewards: what was compared, penalties included, of each sample of the batch
    """

    batch: Batch
    rewards: tuple[float, ...]
    groups: int
    groups_without_signal: int
    without_score: int
    dropped_overlong: int
    masked_overlong: int
    dropped_zero_advantage: int


Valuer = Callable[[Sequence[Trajectory]], Sequence[Sequence[float]]]
"""A critic: V before each turn of each trajectory."""


class _Member(NamedTuple):
    group: int
    trajectory: Trajectory
    masked: bool


def has_signal(group: Group, recipe: Recipe) -> bool:
    """Whether anything of the group would be compared; if not, a new group should be sampled in its place."""
    return bool(_useful(_members([group], recipe), 1, recipe))


def assemble(groups: Sequence[Group], recipe: Recipe, version: int, critic: Valuer | None = None) -> Assembled:
    """Filter, compare within groups, mask: a Batch whose samples stand in the order of the groups.

    Trajectories without a score (an outage) leave first, so they never enter a baseline; then overlong ones where the
    recipe drops them; then groups without signal, and groups of which fewer than two are left to compare; last, where
    the recipe says so, those whose advantage is exactly 0, so that they do not count in the batch's means.

    critic: the values of turns, which advantage "gae" needs (ConfigError without one).
    """
    everyone = [t for group in groups for t in group.trajectories]
    scored = sum(t.score.value is not None for t in everyone)
    members = _members(groups, recipe)
    chosen = _useful(members, len(groups), recipe)
    rewards_B = shaped_rewards([m.trajectory for m in chosen], recipe)
    returns: Sequence[Sequence[float]] = [()] * len(chosen)
    if recipe.advantage == "gae":
        credited, returns = _foretold([m.trajectory for m in chosen], rewards_B, recipe, critic)
    else:
        credited = credit([m.trajectory for m in chosen], rewards_B, [m.group for m in chosen], recipe)
    trained = [i for i, turns in enumerate(credited) if any(turns) or not recipe.drop_zero_advantage]
    samples = tuple(
        made
        for i in trained
        for made in samples_of(
            chosen[i].trajectory,
            credited[i],
            masked=chosen[i].masked,
            mask_format_errors=recipe.mask_format_errors,
            returns=returns[i],
        )
    )
    left = len({m.group for m in chosen})
    return Assembled(
        Batch(samples, version),
        tuple(float(rewards_B[i]) for i in trained for _ in range(1 + len(chosen[i].trajectory.branches))),
        groups=left,
        groups_without_signal=len(groups) - left,
        without_score=len(everyone) - scored,
        dropped_overlong=scored - len(members),
        masked_overlong=sum(m.masked for m in chosen),
        dropped_zero_advantage=len(chosen) - len(trained),
    )


def _foretold(
    trajectories: Sequence[Trajectory], rewards_B: Floats, recipe: Recipe, critic: Valuer | None
) -> TurnCredit:
    if critic is None:
        raise ConfigError(f"recipe '{recipe.name}' needs a critic", way_out="give assemble the values of turns")
    return turn_credit(trajectories, rewards_B, recipe, critic(trajectories)) if trajectories else TurnCredit([], [])


def _members(groups: Sequence[Group], recipe: Recipe) -> list[_Member]:
    """Trajectories that have a score and are not dropped as overlong."""
    scored = [(k, t) for k, group in enumerate(groups) for t in group.trajectories if t.score.value is not None]
    treated = treat_overlong(recipe.overlong, [t.stop_reason for _, t in scored])
    return [_Member(k, t, bool(mask)) for (k, t), keep, mask in zip(scored, *treated, strict=True) if keep]


def _useful(members: Sequence[_Member], groups: int, recipe: Recipe) -> list[_Member]:
    """Members of groups that have something to compare."""
    group_B = np.array([m.group for m in members], dtype=np.int64)
    useful_B = np.bincount(group_B, minlength=groups)[group_B] > 1
    if recipe.drop_no_signal:
        useful_B &= _signal([m.trajectory for m in members], group_B.tolist(), recipe)
    return [member for member, useful in zip(members, useful_B, strict=True) if useful]


def _signal(trajectories: Sequence[Trajectory], group: list[int], recipe: Recipe) -> NDArray[np.bool_]:
    if recipe.signal_by == "score":
        return with_spread([t.score.value or 0.0 for t in trajectories], group)
    return with_signal([t.score.solved for t in trajectories], group)


def shaped_rewards(trajectories: Sequence[Trajectory], recipe: Recipe) -> Floats:
    """Scores with the recipe's penalties for length added, [B]."""
    rewards_B = np.array([t.score.value for t in trajectories], dtype=np.float64)
    if recipe.turn_penalty_from is not None and recipe.turn_limit is not None:
        turns = [len(t.turns) for t in trajectories]
        rewards_B += turn_penalty(turns, threshold=recipe.turn_penalty_from, limit=recipe.turn_limit)
    if recipe.overlong_cache is not None and recipe.overlong_limit is not None:
        lengths = [len(t.token_ids()) for t in trajectories]
        rewards_B += overlong_penalty(lengths, limit=recipe.overlong_limit, cache=recipe.overlong_cache)
    if recipe.confidence:
        stated = [math.nan if (p := t.stated()) is None else p for t in trajectories]
        solved = [float(t.score.solved) for t in trajectories]
        rewards_B += recipe.confidence * penalty(stated, solved, score=recipe.confidence_score)
    return rewards_B


def credit(
    trajectories: Sequence[Trajectory], rewards_B: Floats, group: Sequence[int], recipe: Recipe
) -> list[tuple[float, ...]]:
    """Advantages of B trajectories: one of the whole trajectory, or one a turn where the recipe compares turns."""
    if not trajectories:
        return []
    if recipe.advantage == "gigpo":
        return _credit_turns(trajectories, rewards_B, group, recipe)
    options: dict[str, Any] = {}
    if recipe.advantage == "gapo":
        options = {"tau": recipe.gapo_tau, "centre": recipe.gapo_centre, "normalise": recipe.gapo_normalise}
    elif recipe.advantage == "opo":
        options = {"lengths": [max(sum(len(turn.action_ids) for turn in t.turns), 1) for t in trajectories]}
    return [(float(a),) for a in ADVANTAGES[recipe.advantage](rewards_B, np.asarray(group), **options)]


def _credit_turns(
    trajectories: Sequence[Trajectory], rewards_B: Floats, group: Sequence[int], recipe: Recipe
) -> list[tuple[float, ...]]:
    """GiGPO: the reward is paid at the last turn; turns are compared where the same was shown before them."""
    owner = [i for i, t in enumerate(trajectories) for _ in t.turns]
    paid = np.zeros(len(owner))
    ends = np.cumsum([len(t.turns) for t in trajectories])
    paid[ends - 1] = rewards_B
    seen = [hash(turn.observation_ids) for t in trajectories for turn in t.turns]
    advantages = ADVANTAGES["gigpo"](
        paid,
        np.asarray(group)[owner],
        trajectory=np.asarray(owner),
        state=np.asarray(seen),
        gamma=recipe.gigpo_gamma,
        episode_weight=recipe.gigpo_episode_weight,
        step_weight=recipe.gigpo_step_weight,
    )
    return [tuple(part.tolist()) for part in np.split(advantages, ends[:-1])]


def samples_of(
    trajectory: Trajectory,
    advantage: float | Sequence[float] = 1.0,
    *,
    masked: bool = False,
    mask_format_errors: bool = False,
    mask_tool_errors: bool = False,
    returns: Sequence[float] = (),
) -> list[Sample]:
    """A trajectory and its branches, each sampled token in one of them; see `sample`.

    All carry the episode's advantage; where turns are credited one by one, branches carry the mean of them, and a
    critic learns nothing from them: `returns` are of the trajectory's own turns.
    """
    given = (float(advantage),) if isinstance(advantage, int | float) else tuple(advantage)
    mean = sum(given) / len(given)
    branches = [replace(trajectory, turns=turns, branches=()) for turns in trajectory.branches]
    cut = partial(sample, masked=masked, mask_format_errors=mask_format_errors, mask_tool_errors=mask_tool_errors)
    main = cut(trajectory, given, returns=returns)
    return [main, *(cut(branch, mean) for branch in branches)]


def sample(
    trajectory: Trajectory,
    advantage: float | Sequence[float] = 1.0,
    *,
    masked: bool = False,
    mask_format_errors: bool = False,
    mask_tool_errors: bool = False,
    returns: Sequence[float] = (),
) -> Sample:
    """A trajectory as the learner sees it: N tokens, N mask entries, N log-probs (0 where nothing was sampled).

    advantage: of the whole trajectory (a number, or a sequence of one), or of each turn;  masked: train on none of it;
    mask_format_errors: not on turns whose call could not be parsed;  mask_tool_errors: not on turns in which a tool
    refused a call;  returns: what a critic should foretell before each turn. Turns that were an earlier episode's
    are never trained on.
    """
    given = (float(advantage),) if isinstance(advantage, int | float) else tuple(advantage)
    mask: list[bool] = []
    logprobs: list[float] = []
    advantages: list[float] = []
    foretold: list[float] = []
    for number, turn in enumerate(trajectory.turns):
        broken = (mask_format_errors and turn.format_error) or (mask_tool_errors and any(r.error for r in turn.results))
        train = not masked and not broken and number >= trajectory.replayed_turns()
        mask += [False] * len(turn.observation_ids) + [train] * len(turn.action_ids)
        logprobs += [0.0] * len(turn.observation_ids) + list(turn.logprobs)
        if len(given) > 1:
            advantages += [0.0] * len(turn.observation_ids) + [given[number]] * len(turn.action_ids)
        if returns:
            foretold += [0.0] * len(turn.observation_ids) + [returns[number]] * len(turn.action_ids)
    mean = sum(given) / len(given)
    ids = tuple(trajectory.token_ids())
    return Sample(ids, tuple(mask), tuple(logprobs), mean, trajectory.group_id, tuple(advantages), tuple(foretold))
