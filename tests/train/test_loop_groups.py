"""Groups of one step, without workers: order, staleness, refills, and what a resumed run takes again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from repodojo.core.records import Group, Score, Trajectory, Turn
from repodojo.rollout.actions import Play, Ticket, Whole
from repodojo.rollout.groups import GroupQueue
from repodojo.rollout.orders import Order
from repodojo.rollout.pool import Finished
from repodojo.rollout.rules import Rules
from repodojo.rollout.scheduler import Scheduler
from repodojo.train.config import load
from repodojo.train.cursor import TaskCursor
from repodojo.train.rl import Gathering


class Backwards:
    """A pool that plays last things first, under the real scheduler; `pays` gives the reward of an order."""

    def __init__(self, pays: Any) -> None:
        self.pays = pays
        self.scheduler = Scheduler(Rules(max_staleness=9))
        self.scheduler.join("only", slots=1000)
        self.orders: dict[str, Order] = {}
        self.given: list[Ticket] = []

    def submit_group(self, orders: Sequence[Order], *, need: int, version: int) -> None:
        self.orders.update((order.id, order) for order in orders)
        for action in self.scheduler.ask(orders[0].group_id, [o.id for o in orders], need=need, version=version):
            assert isinstance(action, Play)
            self.given += action.tickets

    def finished_groups(self) -> Iterator[Finished]:
        while self.given:
            for action in self.scheduler.finished(self.given.pop(), 0.0):
                if isinstance(action, Whole):
                    members = tuple(self.played(self.orders[name]) for name in action.kept)
                    yield Finished(Group(action.group, members[0].task_id, members), action.stale)

    def played(self, order: Order) -> Trajectory:
        turn = Turn((1,), (2,), (-0.5,), (0,))
        score = Score(self.pays(order))
        return Trajectory(order.id, order.task_id, order.group_id, "m", order.seed, (turn,), "submit", score)


def training(**others: Any) -> Any:
    given = {"rollout.group_size": 2, "rl.groups_per_step": 3, "run.stages": "rl", **others}
    config = load(None, [f"{name}={value}" for name, value in given.items()])
    cursor = TaskCursor.over([f"task-{n}" for n in range(5)], seed=0)
    unwatched = SimpleNamespace(screen_group=lambda group: group)
    return SimpleNamespace(config=config, cursor=cursor, version=0, in_flight={}, guard=unwatched)


def mixed(order: Order) -> float:
    return float(order.id.endswith("/0"))


def test_groups_come_in_the_order_they_were_asked_for() -> None:
    run = training()
    queue = GroupQueue(Backwards(mixed))  # type: ignore[arg-type]
    gathered = Gathering(run, queue, 0)
    groups = list(gathered.groups())
    assert [group.id for group in groups] == ["rl/0/0", "rl/1/0", "rl/2/0"]
    assert [[t.id[-1] for t in group.trajectories] for group in groups] == [["0", "1"]] * 3
    assert len(gathered.seen) == 6 and sorted(run.in_flight) == [group.id for group in groups]
    gathered.settle()
    assert run.in_flight == {} and queue.in_flight() == 0


def test_groups_without_signal_are_refilled_a_bounded_number_of_rounds() -> None:
    gathered = Gathering(training(**{"rl.max_refills": 2}), GroupQueue(Backwards(lambda order: 1.0)), 0)  # type: ignore[arg-type]
    assert list(gathered.groups()) == [] and gathered.tried == 9 and gathered.training.cursor.position == 9
    lucky = training(**{"rl.max_refills": 2})
    gathered = Gathering(lucky, GroupQueue(Backwards(lambda o: mixed(o) if o.task_id != "task-3" else 0.0)), 0)  # type: ignore[arg-type]
    groups = list(gathered.groups())
    assert len(groups) == 3 and "task-3" not in {group.task_id for group in groups}
    assert gathered.tried == 3 + ("task-3" in {t.task_id for t in gathered.seen})


def test_a_group_that_is_too_old_is_dropped_and_replaced() -> None:
    run = training(**{"rollout.max_staleness": 1})
    queue = GroupQueue(Backwards(mixed))  # type: ignore[arg-type]
    Gathering(run, queue, 0).ask_ahead()
    assert queue.in_flight() == 3
    run.version = 1
    fresh = Gathering(run, queue, 1)
    assert [group.id for group in fresh.groups()] == ["rl/0/0", "rl/1/0", "rl/2/0"] and fresh.stale == 0
    fresh.settle()
    fresh.ask_ahead()
    run.version = 3
    late = Gathering(run, queue, 2)
    assert [group.id for group in late.groups()] == ["rl/6/0", "rl/7/0", "rl/8/0"]
    assert (late.stale, late.tried) == (3, 6)


def test_nothing_is_played_ahead_of_the_last_step_and_the_rest_is_taken_again() -> None:
    run = training(**{"rollout.max_staleness": 2})
    queue = GroupQueue(Backwards(mixed))  # type: ignore[arg-type]
    last = run.config.rl.steps - 1
    for step, ahead in ((last, 0), (last - 1, 3), (0, 6)):
        gathered = Gathering(run, queue, step)
        gathered.ask_ahead()
        assert queue.in_flight() == ahead
    assert len(list(gathered.groups())) == 3
    gathered.settle()
    state = run.cursor.give_back(run.in_flight.values())
    assert state.returned == tuple(range(3, 9)) and [draw.index for draw in state.take(7)[0]] == [*range(3, 10)]
