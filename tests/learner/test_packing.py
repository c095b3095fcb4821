"""A pack must give what separate sequences give: log-probs, entropies and gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from repodojo.algorithms.recipes import recipe
from repodojo.core.errors import ConfigError
from repodojo.core.records import Sample
from repodojo.inference.architecture import Architecture
from repodojo.inference.decoder import Decoder, attend_lengths
from repodojo.learner import logprobs
from repodojo.learner.attention import TreeAttention
from repodojo.learner.logprobs import packed_logprobs, project
from repodojo.learner.objective import Sums, policy_loss, rollout_logprobs, terms
from repodojo.learner.packing import micro_batches, pack


def decoder(kv_heads: int = 1, dtype: torch.dtype = torch.float32) -> Decoder:
    torch.manual_seed(kv_heads)
    model = Decoder(Architecture("qwen3", 40, 32, 48, 2, 4, kv_heads, 16, max_positions=256))
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=0.2)
    return model.to(dtype)


def sample(tokens: list[int], actions: list[int], group: str = "g") -> Sample:
    mask = tuple(i in actions for i in range(len(tokens)))
    return Sample(tuple(tokens), mask, tuple(0.0 for _ in tokens), 1.0, group)


def separately(model: Decoder, samples: list[Sample]) -> tuple[Tensor, Tensor]:
    """The reference: one forward a sample, all logits."""
    logprobs, entropies = [torch.empty(0)], [torch.empty(0)]
    for s in samples:
        ids = torch.tensor(s.token_ids)
        lp = torch.log_softmax(model.logits(model.hidden(ids, torch.arange(len(ids)), attend_lengths([len(ids)]))), -1)
        at = torch.tensor(s.loss_mask).nonzero()[:, 0]
        logprobs.append(lp[at - 1, ids[at]])
        entropies.append(-(lp[at - 1].exp() * lp[at - 1]).sum(-1))
    return torch.cat(logprobs), torch.cat(entropies)


@st.composite
def batches(draw: st.DrawFn) -> list[Sample]:
    """Groups whose members share a prompt, and some of them a first turn too."""
    samples = []
    token = st.integers(0, 5)
    for group in range(draw(st.integers(1, 3))):
        prompt = draw(st.lists(token, min_size=1, max_size=40))
        turn = draw(st.lists(token, min_size=0, max_size=30))
        for _ in range(draw(st.integers(1, 4))):
            tokens = prompt + (turn if draw(st.booleans()) else []) + draw(st.lists(token, max_size=25))
            actions = draw(st.lists(st.integers(1, len(tokens) - 1), max_size=8)) if len(tokens) > 1 else []
            samples.append(sample(tokens, actions, str(group)))
    return samples


@settings(max_examples=40, deadline=None)
@given(samples=batches(), kv_heads=st.sampled_from([1, 2, 4]), budget=st.sampled_from([1, 30, 100, 10_000]))
def test_packed_equals_separate(samples: list[Sample], kv_heads: int, budget: int) -> None:
    model = decoder(kv_heads)
    wanted, wanted_entropy = separately(model, samples)
    weights = torch.linspace(-1, 2, len(wanted))
    grads = torch.autograd.grad(
        (weights * (wanted + wanted_entropy)).sum(), list(model.parameters()), allow_unused=True
    )
    index = {
        (s, t): i
        for i, (s, t) in enumerate((s, t) for s, x in enumerate(samples) for t, on in enumerate(x.loss_mask) if on)
    }
    seen = []
    for part in micro_batches(samples, budget):
        got, got_entropy = packed_logprobs(model, part)
        at = [index[s, t] for s, t in zip(part.sample_A.tolist(), part.offset_A.tolist(), strict=True)]
        seen += at
        torch.testing.assert_close(got, wanted[at].detach(), atol=1e-5, rtol=0)
        torch.testing.assert_close(got_entropy, wanted_entropy[at].detach(), atol=1e-5, rtol=0)
        (weights[at] * (got + got_entropy)).sum().backward()
    assert sorted(seen) == list(range(len(wanted)))
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        if parameter.grad is not None and grad is not None:
            torch.testing.assert_close(parameter.grad, grad, atol=1e-5, rtol=1e-4)
        else:
            assert not seen or (parameter.grad is None) == (grad is None)


def leaves(tree: tuple[list[int], list[Any]], before: list[int]) -> list[list[int]]:
    """Every path from the root of a tree (tokens, children) as one sequence; a node may end a sequence itself."""
    here = before + tree[0]
    below = [path for child in tree[1] for path in leaves(child, here)]
    return [*below, here] if not below or len(here) % 2 else below


runs = st.lists(st.integers(0, 3), min_size=1, max_size=30)
trees = st.recursive(
    st.tuples(runs, st.just([])), lambda child: st.tuples(runs, st.lists(child, max_size=3)), max_leaves=8
)


@settings(max_examples=30, deadline=None)
@given(
    forest=st.lists(trees, min_size=1, max_size=2),
    budget=st.sampled_from([40, 90, 10_000]),
    seed=st.integers(0, 99),
    flash=st.sampled_from([None, False]),
)
def test_random_trees_give_the_logits_loss_and_gradient_of_separate_sequences(
    forest: list[Any], budget: int, seed: int, flash: bool | None
) -> None:
    paths = [(path, str(group)) for group, tree in enumerate(forest) for path in leaves(tree, [])]
    drawn = torch.Generator().manual_seed(seed)
    masks = [(torch.rand(len(path), generator=drawn) < 0.4).nonzero()[:, 0].tolist() for path, _ in paths]
    samples = [
        replace(sample(path, [i for i in mask if i], group), advantage=float(i % 3 - 1), logprobs=(-1.5,) * len(path))
        for i, ((path, group), mask) in enumerate(zip(paths, masks, strict=True))
    ]
    together, alone = decoder(2), decoder(2)
    row = recipe("dapo", dual_clip=3.0)
    found = []
    for model, parts in (
        (together, micro_batches(samples, budget)),
        (alone, [pack(samples, [i]) for i, one in enumerate(samples) if any(one.loss_mask)]),
    ):
        given_terms = terms(samples, row, rollout_logprobs(samples), None, None)
        logits, total = {}, 0.0
        for part in parts:
            assert part.rows <= budget or len(set(part.sample_A.tolist())) == 1
            hidden = model.hidden(part.ids_N, part.positions_N, TreeAttention(part.layout, flash=flash))
            rows = hidden[part.source_A]
            keys = zip(part.sample_A.tolist(), part.offset_A.tolist(), strict=True)
            logits.update(dict(zip(keys, model.logits(rows).detach(), strict=True)))
            logprobs_A, entropy_A = project(rows, model.output_weight, part.target_A)
            loss = policy_loss(logprobs_A, entropy_A, part, given_terms, Sums())
            loss.backward()
            total += float(loss.detach())
        found.append((logits, total, [p.grad for p in model.parameters()]))
    (a, loss, grads), (b, wanted, wanted_grads) = found
    assert a.keys() == b.keys()
    assert loss == pytest.approx(wanted, abs=1e-5)
    for key, row_logits in a.items():
        torch.testing.assert_close(row_logits, b[key], atol=1e-5, rtol=1e-5)
    for got, want in zip(grads, wanted_grads, strict=True):
        if got is not None and want is not None:
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_a_split_keeps_branches_together() -> None:
    turns = [list(range(30)) + [30 + branch] * 20 for branch in range(2)]
    samples = [sample([*turns[i % 2], *([i] * 11)], [60]) for i in range(4)]  # branches come in turns
    parts = micro_batches(samples, 75)
    assert [p.sample_A.tolist() for p in parts] == [[0, 2], [1, 3]]
    assert [p.rows for p in parts] == [50 + 2 * 10] * 2


def test_flash_and_mask_agree_in_double() -> None:
    model = decoder(2, torch.float64)
    prompt = list(range(20))
    samples = [sample(prompt + [i] * 20 + [j, j + 1], list(range(19, 42))) for i in (1, 2) for j in (3, 4, 5)]
    packed = pack(samples)
    results = []
    for flash in (True, False):
        out = model.hidden(packed.ids_N, packed.positions_N, TreeAttention(packed.layout, flash=flash))
        results.append(out)
        out.square().sum().backward()
    torch.testing.assert_close(*results, atol=1e-12, rtol=0)
    assert len(packed.layout.crosses) == 3  # the prompt, and one stretch for each of the two first turns


def test_shared_tokens_are_computed_once() -> None:
    samples = [sample([*range(30), i, i, i], [31, 32]) for i in range(4)]
    assert pack(samples).rows == 30 + 4 * 2  # the last token of each predicts nothing


def test_rows_after_the_last_action_are_left_out() -> None:
    packed = pack([sample(list(range(30)), [3, 7]), sample(list(range(30)), [], "other")])
    assert packed.rows == 7
    assert packed.target_A.tolist() == [3, 7]
    assert packed.source_A.tolist() == [2, 6]


def test_a_group_above_the_budget_is_split_with_its_prefix() -> None:
    samples = [sample([*range(30), *([i] * 21)], [50]) for i in range(5)]
    parts = micro_batches(samples, 75)
    assert [p.rows for p in parts] == [70, 70, 50]
    assert [p.sample_A.tolist() for p in parts] == [[0, 1], [2, 3], [4]]


def test_groups_stay_whole_within_the_budget() -> None:
    samples = [sample([*range(30), *([i] * 21)], [50], str(i // 2)) for i in range(6)]
    assert [p.sample_A.tolist() for p in micro_batches(samples, 139)] == [[0, 1], [2, 3], [4, 5]]
    assert [p.sample_A.tolist() for p in micro_batches(samples, 140)] == [[0, 1, 2, 3], [4, 5]]


def test_nothing_to_train_on_gives_no_pack() -> None:
    assert micro_batches([sample([1, 2, 3], [])], 10) == []
    assert micro_batches([], 10) == []


@pytest.mark.parametrize(
    "bad", [sample([1, 2], [0]), Sample((1, 2), (True,), (), 0.0, "g")], ids=["first token", "mask length"]
)
def test_a_mask_that_does_not_fit_is_refused(bad: Sample) -> None:
    with pytest.raises(ConfigError, match="group 'g'"):
        pack([bad])


def test_projection_in_chunks_equals_log_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", 700)
    rows, weight = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (1030, 7))
    targets = torch.randint(0, 7, (1030,))
    logits = torch.log_softmax(rows @ weight.T, -1)
    wanted = (logits.gather(1, targets[:, None])[:, 0], -(logits.exp() * logits).sum(-1))
    got = project(rows, weight, targets)
    mix = torch.randn(2, 1030, dtype=torch.float64)
    a = torch.autograd.grad((mix[0] * wanted[0] + mix[1] * wanted[1]).sum(), [rows, weight], retain_graph=True)
    b = torch.autograd.grad((mix[0] * got[0] + mix[1] * got[1]).sum(), [rows, weight])
    for weights in ((1.0, 0.0), (0.0, 1.0)):
        one = torch.autograd.grad(
            sum(w * x.sum() for w, x in zip(weights, project(rows, weight, targets), strict=True) if w), [rows, weight]
        )
        ref = torch.autograd.grad(
            sum(w * x.sum() for w, x in zip(weights, wanted, strict=True)), [rows, weight], retain_graph=True
        )
        torch.testing.assert_close(one, ref, atol=1e-10, rtol=0)
    for x, y in zip((*wanted, *a), (*got, *b), strict=True):
        torch.testing.assert_close(x, y, atol=1e-10, rtol=0)
