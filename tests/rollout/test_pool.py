"""Workers as they are: real processes, boxes and a real model; what happens to their orders when things go wrong."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from repodojo.core.errors import CheckpointError, ConfigError, EngineError
from repodojo.core.records import Trajectory
from repodojo.inference import checkpoint
from repodojo.rollout.orders import Order, group_orders, seed_of
from repodojo.rollout.pool import WorkerPool
from repodojo.tasks.store import TaskStore
from tiny_school import pool_settings


def orders(store: TaskStore, size: int = 4, prefix: str = "t", seed: int = 0) -> list[Order]:
    return group_orders([task.id for task in store.tasks()], size=size, prefix=prefix, seed=seed)


def told(trajectory: Trajectory) -> tuple[object, ...]:
    """What must not depend on timing."""
    return trajectory.id, trajectory.token_ids(), trajectory.stop_reason, trajectory.score.value, trajectory.diff


def by_id(found: list[Trajectory]) -> list[tuple[object, ...]]:
    return sorted(map(told, found))  # type: ignore[type-var]


def test_orders_depend_on_names_alone() -> None:
    made = group_orders(["a", "b"], size=2, prefix="p", seed=1)
    assert [order.id for order in made] == ["p/0/0", "p/0/1", "p/1/0", "p/1/1"]
    assert [order.group_id for order in made] == ["p/0", "p/0", "p/1", "p/1"]
    assert made[2].seed == seed_of(1, "p", 1, "b", 0) and len({order.seed for order in made}) == 4
    assert all(0 <= order.seed < 1 << 63 for order in made)


@pytest.mark.slow
def test_workers_replaced_published_to_and_the_same_as_one_alone(tiny_store: TaskStore, tiny_model: Path) -> None:
    wanted = orders(tiny_store)
    with WorkerPool(pool_settings(tiny_store, tiny_model, concurrency=1), 1) as pool:
        alone = list(pool.run(wanted))
    assert {t.score.value for t in alone} == {0.0, 1.0}
    solved = next(t for t in alone if t.score.value == 1.0)
    assert solved.stop_reason == "submit" and solved.diff.startswith("--- a/tiny/sums.py\n+++ b/tiny/sums.py\n")
    assert {v for t in alone for turn in t.turns for v in turn.versions} == {0}

    with WorkerPool(pool_settings(tiny_store, tiny_model), 2) as pool:
        assert by_id(list(pool.run(wanted))) == by_id(alone)  # whatever the concurrency and the number of workers

        pool.submit(wanted)
        pool.publish(7, checkpoint.read_weights(tiny_model))
        victim = max(pool._hands, key=lambda hand: len(pool.scheduler._workers[hand.name].tickets))
        os.kill(victim.process.pid, signal.SIGKILL)
        again = list(pool.results())
        assert by_id(again) == by_id(alone)  # replayed, each once
        assert victim not in pool._hands

        late = list(pool.run(orders(tiny_store, prefix="late")))
        assert {v for t in late for turn in t.turns for v in turn.versions} == {
            7
        }  # the replacement has the weights too

        for hand in pool._hands:  # nobody has noticed yet: publishing must not fail on a dead worker
            os.kill(hand.process.pid, signal.SIGKILL)
            hand.process.join()
        pool.publish(8, checkpoint.read_weights(tiny_model))
        assert [hand.version for hand in pool._hands] == [8, 8]
        processes = [hand.process for hand in pool._hands]
        folder = pool.published._folder
        assert folder is not None and [path.name for path in folder.iterdir()] == ["8"]
    assert not folder.exists() and not any(process.is_alive() for process in processes)


def test_faults_of_ours_stop_the_pool(tiny_store: TaskStore, tiny_model: Path, tmp_path: Path) -> None:
    with (
        WorkerPool(pool_settings(tiny_store, tmp_path), 1) as pool,
        pytest.raises(CheckpointError, match=str(tmp_path)),
    ):
        list(pool.run(orders(tiny_store)))
    with WorkerPool(pool_settings(tiny_store, tiny_model), 1) as pool:
        first = orders(tiny_store)[0]
        with pytest.raises(ConfigError, match="no policy 'nobody'"):
            list(pool.run([replace(first, policy="nobody")]))
        with pytest.raises(RuntimeError, match="KeyError: 'no-such-task'"):
            list(pool.run([replace(first, id="x", task_id="no-such-task")]))


def test_workers_that_die_again_and_again_are_an_outage(tiny_store: TaskStore, tiny_model: Path) -> None:
    with WorkerPool(pool_settings(tiny_store, tiny_model), 1) as pool:
        pool.start()
        pool._restarts = 3
        os.kill(pool._hands[0].process.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match=r"4 times in a row, the last with code -9.*resume"):
            list(pool.run(orders(tiny_store)))


def test_lent_threads_and_prepared_boxes_change_how_and_not_what(tiny_store: TaskStore, tiny_model: Path) -> None:
    wanted = orders(tiny_store)
    with WorkerPool(pool_settings(tiny_store, tiny_model, prepared_boxes=4), 1) as pool:
        pool.lend(2)
        found = list(pool.run(wanted))
        pool.lend(0)
        pool.publish(1, checkpoint.read_weights(tiny_model))
        counts = pool.counts()
        assert counts["threads"] == 1 + 2  # read back from the worker's own torch
        assert counts["engine_decoded_tokens"] == sum(len(turn.action_ids) for t in found for turn in t.turns)
        assert 0 < counts["boxes_ready"] <= counts["boxes_taken"] and counts["boxes_waited"] > 0
        assert {t.score.value for t in found} == {0.0, 1.0}
        os.kill(pool._hands[0].process.pid, signal.SIGKILL)
        pool.publish(2, checkpoint.read_weights(tiny_model))
        assert pool.counts()["engine_decoded_tokens"] == counts["engine_decoded_tokens"]  # the dead one's still count
