"""Groups of trajectories for the learner: requested in order, taken when whole, dropped when too old or signal-less."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from repodojo.core.records import Group, Trajectory
from repodojo.rollout.orders import Order
from repodojo.rollout.pool import WorkerPool


@dataclass
class Wanted:
    """A group in flight: its orders, the policy version when it was asked for, what came back so far."""

    orders: list[Order]
    version: int
    members: dict[str, Trajectory] = field(default_factory=dict)

    def whole(self) -> bool:
        """Whether every member is back."""
        return len(self.members) == len(self.orders)

    def group(self) -> Group:
        """Members in the order they were asked for, whatever order they came in: results do not depend on timing."""
        first = self.orders[0]
        return Group(first.group_id, first.task_id, tuple(self.members[order.id] for order in self.orders))


class GroupQueue:
    """Groups in flight over a pool. Synchronous training asks and takes all; asynchronous training asks ahead."""

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self._wanted: dict[str, Wanted] = {}

    def ask(self, orders: Sequence[Order], version: int) -> None:
        """Submit orders, grouped by their group ids."""
        for order in orders:
            self._wanted.setdefault(order.group_id, Wanted([], version)).orders.append(order)
        self.pool.submit(orders)

    def in_flight(self) -> int:
        """Groups asked for and not taken."""
        return len(self._wanted)

    def take(self, count: int, on_trajectory: Callable[[Trajectory], None]) -> Iterator[Wanted]:
        """The next `count` groups in the order of asking, each when it is whole."""
        for _ in range(min(count, len(self._wanted))):
            oldest = next(iter(self._wanted))
            self._fill(oldest, on_trajectory)
            yield self._wanted.pop(oldest)

    def _fill(self, group_id: str, on_trajectory: Callable[[Trajectory], None]) -> None:
        """Receive until the group is whole; others fill on the way."""
        while not self._wanted[group_id].whole():
            for trajectory in self.pool.results():
                self._wanted[trajectory.group_id].members[trajectory.id] = trajectory
                on_trajectory(trajectory)
                if self._wanted[group_id].whole():
                    break
