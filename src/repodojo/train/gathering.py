"""The groups of one step of RL: asked for, taken, refilled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from repodojo.algorithms.batches import has_signal
from repodojo.core.records import Group, Trajectory
from repodojo.rollout.groups import GroupQueue
from repodojo.rollout.orders import Order, group_orders
from repodojo.rollout.rules import Pace
from repodojo.train.cursor import Draw
from repodojo.train.idle import recipe_of
from repodojo.train.prefixes import Prefixes
from repodojo.train.stages import Span, spans

if TYPE_CHECKING:
    from repodojo.train.loop import Training


class Gathering:
    """Enough groups with signal, refilled a bounded number of rounds, none staler than allowed."""

    def __init__(
        self,
        training: Training,
        queue: GroupQueue,
        step: int,
        span: Span | None = None,
        prefixes: Prefixes | None = None,
    ) -> None:
        self.training, self.queue, self.step, self.prefixes = training, queue, step, prefixes
        self.config = training.config
        self.span = span or spans(training.config)[0]
        self.recipe = recipe_of(training.config)
        self.pace = Pace(self.config.rl.groups_per_step, self.config.rollout.max_staleness)
        self.steps_left = self.span.end - step - 1
        self.seen: list[Trajectory] = []
        self.taken: list[str] = []
        self.stale = 0

    def groups(self) -> Iterator[Group]:
        """Groups with signal, at most `groups_per_step`."""
        wanted = self.config.rl.groups_per_step
        kept = 0
        for _ in range(self.config.rl.max_refills + 1):
            self._ask(self.pace.gathering(kept, self.queue.in_flight(), self.steps_left))
            for group in self._take(wanted - kept):
                kept += 1
                yield group
            if kept >= wanted:
                return

    @property
    def tried(self) -> int:
        """Groups taken, with signal or without."""
        return len(self.taken)

    def _take(self, count: int) -> Iterator[Group]:
        for wanted in self.queue.take(count):
            assert wanted.group is not None  # it was taken
            group = self.training.guard.screen_group(wanted.group)
            self.taken.append(group.id)
            self.seen += group.trajectories
            if wanted.stale or self.training.version - wanted.version > self.config.rollout.max_staleness:
                self.stale += 1
            elif not self.recipe.drop_no_signal or has_signal(group, self.recipe):
                yield group

    def ask_ahead(self) -> None:
        """With staleness allowed, the next steps' groups are played while the learner works; none past the last."""
        self._ask(self.pace.learning(self.queue.in_flight(), self.steps_left))

    def _ask(self, count: int) -> None:
        if not count:
            return
        training, rollout = self.training, self.config.rollout
        draws, training.cursor = training.cursor.take(count)
        for draw in draws:
            orders = self._orders(draw)
            training.in_flight[orders[0].group_id] = draw
            self.queue.ask(orders, training.version, need=rollout.group_size)

    def _orders(self, draw: Draw) -> Sequence[Order]:
        rollout = self.config.rollout
        start = self.prefixes.of(draw.task_id) if self.prefixes else None
        return group_orders(
            [draw.task_id],
            size=rollout.group_size + rollout.redundancy,
            prefix=f"{self.span.prefix}/{draw.index}{start.mark if start else ''}",
            seed=self.config.run.seed,
            temperature=rollout.temperature,
            opening=start.turns if start else (),
        )

    def settle(self) -> None:
        """What was seen is no longer in flight; the rest will be taken again by a resumed run."""
        for group_id in self.taken:
            self.training.in_flight.pop(group_id, None)
