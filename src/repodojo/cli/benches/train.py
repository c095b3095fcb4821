"""Forward and backward of a group: the tree-packed learner against padded sequences in transformers.

8 sequences that share 600 tokens and have 400 of their own, loss on those, float32, one thread, the same weights; the
two losses are checked to be equal. Ours: `learner.packing` and `learner.logprobs` on the project's decoder. Theirs: one
batch with `labels=` (of equal length, so no padding is wasted). `hf_ratio` is the same learner on transformers' model,
`floor_share` the least time that the machine could take (`_floor`) over ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from repodojo.cli.benches import _floor
from repodojo.cli.benches._common import compare, one_thread, own_model, same_in_transformers
from repodojo.core.records import Sample
from repodojo.learner.hf import TransformersPolicy
from repodojo.learner.logprobs import packed_logprobs
from repodojo.learner.packing import Pack, pack
from repodojo.learner.policy import Policy


def run(quick: bool) -> dict[str, Any]:
    """See the module; `quick` is 4 sequences of 60 and 40 tokens."""
    count, shared, own = (4, 60, 40) if quick else (8, 600, 400)
    ids = torch.randint(0, 4096, (count, shared + own))
    ids[:, :shared] = ids[0, :shared]
    mask = (False,) * shared + (True,) * own
    group = [Sample(tuple(row), mask, (0.0,) * len(mask), 1.0, "g") for row in ids.tolist()]
    decoder = own_model()
    theirs, hosted = same_in_transformers(decoder), TransformersPolicy(same_in_transformers(decoder))
    losses: dict[str, float] = {}

    def packed(policy: Policy, name: str) -> None:
        losses[name] = _step(policy, pack(group))

    def padded() -> None:
        labels = ids.masked_fill(~torch.tensor(mask), -100)
        theirs.zero_grad()
        loss = theirs(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, use_cache=False).loss
        loss.backward()
        losses["theirs"] = float(loss.detach())

    rounds = 2 if quick else 3
    with one_thread():
        packed(decoder, "ours")  # the first call of each side pays for its memory
        padded()
        found = compare(lambda: packed(decoder, "ours"), padded, rounds)
        other = compare(lambda: packed(hosted, "hosted"), padded, 1 if quick else 2)
        prefix = _floor.prefill(shared, count, own)
        least = replace(prefix, scored=count * own, trained=True)
        found |= _floor.against(decoder.architecture, least, found["ours_cpu_seconds"])
    assert max(losses.values()) - min(losses.values()) < 1e-4, losses
    return {
        **found,
        "hf_ratio": other["ratio"],
        "rows": pack(group).rows,
        "tokens": ids.numel(),
        "loss": losses["ours"],
    }


def _step(policy: Policy, part: Pack) -> float:
    for weight in policy.parameters():
        weight.grad = None
    logprobs_A, _ = packed_logprobs(policy, part, entropy=False)
    loss = -logprobs_A.mean()
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())
