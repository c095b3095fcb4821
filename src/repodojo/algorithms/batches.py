"""From groups of trajectories to what one optimiser step consumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repodojo.algorithms.advantages import ADVANTAGES
from repodojo.algorithms.filters import treat_overlong, with_signal
from repodojo.algorithms.recipes import Recipe
from repodojo.core.records import Batch, Group, Sample, Trajectory


@dataclass(frozen=True)
class Assembled:
    """The batch, and what became of the trajectories and groups that are not in it, or are in it masked."""

    batch: Batch
    groups: int
    groups_without_signal: int
    without_score: int
    dropped_overlong: int
    masked_overlong: int


def has_signal(group: Group, recipe: Recipe) -> bool:
    """Whether anything of the group would be trained on; if not, a new group should be sampled in its place."""
    return assemble([group], recipe, 0).groups_without_signal == 0


def assemble(groups: Sequence[Group], recipe: Recipe, version: int) -> Assembled:
    """Filter, compare within groups, mask: a Batch whose samples stand in the order of the groups.

    Trajectories without a score (an outage) leave first, so they never enter a baseline; then overlong ones where the
    recipe drops them; then groups without signal, and groups of which fewer than two are left to compare.
    """
    members = [(k, t) for k, group in enumerate(groups) for t in group.trajectories]
    scored = [(k, t) for k, t in members if t.score.value is not None]
    treated = treat_overlong(recipe.overlong, [t.stop_reason for _, t in scored])
    kept = [(k, t, bool(m)) for (k, t), keep, m in zip(scored, *treated, strict=True) if keep]
    group_B = np.array([k for k, _, _ in kept], dtype=np.int64)
    useful_B = np.bincount(group_B, minlength=len(groups))[group_B] > 1
    if recipe.drop_no_signal:
        useful_B &= with_signal([t.score.solved for _, t, _ in kept], group_B.tolist())
    chosen = [entry for entry, useful in zip(kept, useful_B, strict=True) if useful]
    rewards_B = np.array([t.score.value for _, t, _ in chosen], dtype=np.float64)
    advantages_B = ADVANTAGES[recipe.advantage](rewards_B, group_B[useful_B]) if chosen else rewards_B
    samples = tuple(
        sample(trajectory, float(a), masked=masked)
        for (_, trajectory, masked), a in zip(chosen, advantages_B, strict=True)
    )
    left = len({k for k, _, _ in chosen})
    return Assembled(
        Batch(samples, version),
        groups=left,
        groups_without_signal=len(groups) - left,
        without_score=len(members) - len(scored),
        dropped_overlong=len(scored) - len(kept),
        masked_overlong=sum(masked for _, _, masked in chosen),
    )


def sample(
    trajectory: Trajectory,
    advantage: float = 1.0,
    *,
    masked: bool = False,
    mask_format_errors: bool = False,
    mask_tool_errors: bool = False,
) -> Sample:
    """A trajectory as the learner sees it: N tokens, N mask entries, N log-probs (0 where nothing was sampled).

    masked: train on none of it;  mask_format_errors: not on turns whose call could not be parsed;  mask_tool_errors:
    not on turns in which a tool refused a call.
    """
    mask: list[bool] = []
    logprobs: list[float] = []
    for turn in trajectory.turns:
        broken = (mask_format_errors and turn.format_error) or (mask_tool_errors and any(r.error for r in turn.results))
        train = not masked and not broken
        mask += [False] * len(turn.observation_ids) + [train] * len(turn.action_ids)
        logprobs += [0.0] * len(turn.observation_ids) + list(turn.logprobs)
    return Sample(tuple(trajectory.token_ids()), tuple(mask), tuple(logprobs), advantage, trajectory.group_id)
