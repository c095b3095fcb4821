from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.core.errors import RunError
from repodojo.train.cursor import TaskCursor

IDS = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=12, unique=True)


@given(IDS, st.integers(0, 99), st.integers(0, 40))
def test_every_epoch_holds_each_task_once(ids: list[str], seed: int, count: int) -> None:
    draws, _ = TaskCursor.over(ids, seed).take(count)
    for start in range(0, count - len(ids) + 1, len(ids)):
        assert sorted(d.task_id for d in draws[start : start + len(ids)]) == sorted(ids)


@given(IDS, st.integers(0, 99), st.lists(st.integers(0, 7), max_size=8))
def test_the_order_does_not_depend_on_how_it_is_taken(ids: list[str], seed: int, sizes: list[int]) -> None:
    whole, _ = TaskCursor.over(ids, seed).take(sum(sizes))
    cursor, parts = TaskCursor.over(reversed(ids), seed), []
    for size in sizes:
        draws, cursor = cursor.take(size)
        parts += draws
    assert tuple(parts) == whole


@given(IDS, st.integers(0, 99), st.data())
def test_stops_at_any_moment_take_nothing_twice_and_skip_nothing(
    ids: list[str], seed: int, data: st.DataObject
) -> None:
    """Draws finish in any order; at each stop those in flight are given back and the state goes through JSON."""
    cursor, finished = TaskCursor.over(ids, seed), []
    rng = random.Random(seed)
    for _ in range(data.draw(st.integers(1, 6))):
        draws, cursor = cursor.take(data.draw(st.integers(0, 6)))
        done = [d for d in draws if rng.random() < 0.5]
        finished += done
        state = json.loads(json.dumps(cursor.give_back(d for d in draws if d not in done).state()))
        cursor = TaskCursor.restore(ids, state)
    rest, cursor = cursor.take(len(cursor.returned))
    finished += rest
    assert sorted(d.index for d in finished) == list(range(cursor.position))


def test_another_task_set_is_refused() -> None:
    state = TaskCursor.over(["a", "b"], 1).state()
    with pytest.raises(RunError, match="not the one"):
        TaskCursor.restore(["a", "c"], state)
    with pytest.raises(RunError, match="empty"):
        TaskCursor.over([], 1)
    with pytest.raises(RunError, match="twice"):
        TaskCursor.over(["a", "a"], 1)


def test_what_was_never_taken_cannot_be_given_back() -> None:
    cursor = TaskCursor.over(["a", "b"], 1)
    draws, _ = cursor.take(1)
    with pytest.raises(ValueError, match="never taken"):
        cursor.give_back(draws)


WEIGHTS = st.floats(0.1, 5)


@given(IDS, st.integers(0, 99), st.data())
def test_a_weighted_epoch_keeps_its_length_and_gives_each_task_its_share(
    ids: list[str], seed: int, data: st.DataObject
) -> None:
    weights = {task: data.draw(WEIGHTS) for task in ids}
    draws, _ = TaskCursor.over(ids, seed, weights).take(3 * len(ids))
    total = sum(weights.values())
    for start in range(0, len(draws), len(ids)):
        epoch = [draw.task_id for draw in draws[start : start + len(ids)]]
        for task in ids:
            assert abs(epoch.count(task) - len(ids) * weights[task] / total) < 1 + 1e-6


@given(IDS, st.integers(0, 99), WEIGHTS)
def test_equal_weights_change_nothing(ids: list[str], seed: int, weight: float) -> None:
    assert TaskCursor.over(ids, seed, dict.fromkeys(ids, weight)) == TaskCursor.over(ids, seed)


def test_a_weighted_place_is_restored_with_its_weights_alone() -> None:
    weights = {"a": 3.0, "b": 1.0}
    draws, cursor = TaskCursor.over("abc", 1, weights).take(5)
    state = json.loads(json.dumps(cursor.give_back(draws[2:3]).state()))
    assert TaskCursor.restore("abc", state, weights).take(3)[0][0] == draws[2]
    for others in (None, {"a": 2.0}):
        with pytest.raises(RunError, match="task weights"):
            TaskCursor.restore("abc", state, others)
    with pytest.raises(RunError, match="task weights"):
        TaskCursor.restore("abc", TaskCursor.over("abc", 1).state(), weights)
