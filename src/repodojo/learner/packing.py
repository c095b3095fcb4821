"""Samples on one flat token axis: nothing padded, what a group shares computed once.

The samples of a group start with the same prompt, often with the same first turns too. A pack lays each group out as
a tree in depth-first order: a shared stretch of tokens, then everything that continues it. So the descendants of a
stretch are always the rows right behind it, and attention needs only spans (`learner.tree`, `learner.attention`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from repodojo.core.errors import ConfigError
from repodojo.core.records import Sample
from repodojo.learner.tree import Forest, Ints, Layout


@dataclass(frozen=True)
class Pack:
    """N rows to compute and A action tokens to predict from them.

    ids_N, positions_N, layout: what the decoder computes, and who looks at whom
    source_A: row whose hidden state predicts the token (one shared row may predict for several samples)
    target_A: the token's id
    sample_A, offset_A: index of its sample in the list that was packed, and its position within that sample
    """

    ids_N: Tensor
    positions_N: Tensor
    layout: Layout
    source_A: Tensor
    target_A: Tensor
    sample_A: Tensor
    offset_A: Tensor

    @property
    def rows(self) -> int:
        """Tokens that are computed (N)."""
        return int(self.ids_N.numel())

    def to(self, device: torch.device | str) -> Pack:
        """The same pack on a device."""
        a, b, c, d, e, f = (
            t.to(device)
            for t in (self.ids_N, self.positions_N, self.source_A, self.target_A, self.sample_A, self.offset_A)
        )
        return Pack(a, b, self.layout, c, d, e, f)


def pack(samples: Sequence[Sample], members: Sequence[int] | None = None) -> Pack:
    """Pack `members` (default: all) of `samples`; `sample_A` refers to the whole list.

    Rows that no action token depends on (whatever follows the last one) are left out, so a sample without action
    tokens takes no room. ConfigError where a mask does not fit its tokens.
    """
    chosen = list(range(len(samples))) if members is None else list(members)
    tokens = {index: _needed(samples[index]) for index in chosen}
    forest = Forest(tokens)
    for indices in groups_of(samples, chosen):
        forest.add(indices)
    source, target, owner, offset = [], [], [], []
    for index in chosen:
        actions = np.flatnonzero(np.asarray(samples[index].loss_mask, dtype=bool))
        source.append(forest.rows[index][actions - 1])
        target.append(np.asarray(samples[index].token_ids, dtype=np.int64)[actions])
        owner.append(np.full(actions.size, index))
        offset.append(actions)
    return Pack(
        _flat(forest.pieces),
        _flat(forest.positions),
        forest.layout(),
        _flat(source),
        _flat(target),
        _flat(owner),
        _flat(offset),
    )


def micro_batches(samples: Sequence[Sample], token_budget: int) -> list[Pack]:
    """Packs of at most `token_budget` rows, in the order of the samples.

    A group stays whole unless it alone exceeds the budget; then it is split so that branches stay together, and what
    the parts share is computed in each.
    One sample above the budget makes a pack of its own. Samples without action tokens appear in no pack.
    """
    if token_budget < 1:
        raise ConfigError(f"token_budget is {token_budget}", way_out="give a number of tokens, e.g. 16384")
    packs: list[Pack] = []
    members: list[int] = []
    rows = 0
    for indices in groups_of(samples, range(len(samples))):
        for part, size in _parts([(i, _needed(samples[i])) for i in indices], token_budget):
            if members and rows + size > token_budget:
                packs.append(pack(samples, members))
                members, rows = [], 0
            members += part
            rows += size
    return [*packs, pack(samples, members)] if members else packs


def groups_of(samples: Sequence[Sample], indices: Sequence[int]) -> list[list[int]]:
    """Indices by group, in order of first appearance."""
    groups: dict[str, list[int]] = {}
    for index in indices:
        groups.setdefault(samples[index].group_id, []).append(index)
    return list(groups.values())


def _parts(group: list[tuple[int, Ints]], budget: int) -> list[tuple[list[int], int]]:
    """Cut a group into parts within the budget, with the rows of each.

    In sorted order those that share a branch are neighbours, so a cut computes as little as possible twice.
    """
    tokens = {index: own for index, own in group if own.size}
    if (rows := _rows(tokens)) <= budget or not tokens:
        return [(list(tokens), rows)] if tokens else []
    parts: list[tuple[list[int], int]] = []
    for index in sorted(tokens, key=lambda i: (tokens[i].tolist(), i)):
        if parts:
            together = [*parts[-1][0], index]
            if (rows := _rows({i: tokens[i] for i in together})) <= budget:
                parts[-1] = (together, rows)
                continue
        parts.append(([index], int(tokens[index].size)))
    return [(sorted(members), rows) for members, rows in parts]


def _rows(tokens: dict[int, Ints]) -> int:
    """Rows of one group's tree."""
    forest = Forest(tokens)
    forest.add(list(tokens))
    return forest.size


def _needed(sample: Sample) -> Ints:
    """The tokens whose hidden states are needed: all before the last one to predict."""
    length = len(sample.token_ids)
    if len(sample.loss_mask) != length:
        cause = f"a sample of group '{sample.group_id}' has {length} tokens and a mask of {len(sample.loss_mask)}"
        raise ConfigError(cause, way_out="give one mask entry a token")
    actions = np.flatnonzero(np.asarray(sample.loss_mask, dtype=bool))
    if actions.size and actions[0] == 0:
        cause = f"a sample of group '{sample.group_id}' would train on its first token, which nothing predicts"
        raise ConfigError(cause, way_out="let samples begin with a prompt")
    return np.asarray(sample.token_ids[: int(actions[-1]) if actions.size else 0], dtype=np.int64)


def _flat(parts: list[Ints]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts)) if parts else torch.empty(0, dtype=torch.int64)
