"""Counted floors: pairs and rows as a loop over every token finds them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from repodojo.cli.benches import _floor, multiturn
from repodojo.cli.benches._common import SIZES, own_model

SMALL = st.integers(0, 12)


@given(SMALL, st.integers(1, 4), SMALL, st.integers(1, 6))
def test_rows_and_pairs_are_those_of_every_token_by_itself(shared: int, count: int, own: int, new: int) -> None:
    work = _floor.prefill(shared, count, own)
    contexts = [place + 1 for place in range(shared)]
    contexts += [shared + place + 1 for _ in range(count) for place in range(own)]
    assert (work.rows, work.pairs) == (len(contexts), sum(contexts))
    more = _floor.decode(shared, count, own, new)
    read = pairs = 0
    for step in range(1, new):
        read += shared + count * (own + step)
        pairs += count * (shared + own + step)
    assert (more.kept_tokens, more.pairs, more.steps) == (read, pairs, new - 1)
    assert more.scored == count * new and more.rows == count * (new - 1)
    both = work + more
    assert both.rows == work.rows + more.rows and both.scored == more.scored
    assert both.operations(SIZES) == work.operations(SIZES) + more.operations(SIZES)


def test_training_takes_three_times_forward_and_a_product_two_operations_a_weight() -> None:
    once = _floor.Work(1, 0, 0)
    matrices = sum(p.numel() for n, p in own_model().named_parameters() if p.dim() == 2 and "embed" not in n)
    assert 2 * matrices <= once.operations(SIZES) <= 2 * matrices * 1.01
    assert _floor.Work(5, 3, 7, trained=True).operations(SIZES) == 3 * _floor.Work(5, 3, 7).operations(SIZES)


def test_turns_that_keep_all_compute_each_token_once() -> None:
    plan = multiturn._Plan(trajectories=4, group=2, turns=3, prompt=5, observed=4, sampled=2)
    work = multiturn._least(plan)
    prompts, each = 2 * 5, 3 * (2 + 4) - 4 - 1  # the last observation and the last sampled token are never computed
    assert work.rows == prompts + 4 * each
    assert work.scored == 4 * 3 * 2 and work.steps == 3 * (2 - 1)
