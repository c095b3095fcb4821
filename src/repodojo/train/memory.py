"""What RL remembers from step to step beside the weights: how hard tasks are, and where their groups begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from repodojo.core.records import Batch, Trajectory
from repodojo.train.difficulty import Ledger, WeightedCursor
from repodojo.train.prefixes import Prefixes
from repodojo.train.replaying import Cache
from repodojo.train.stages import Span

if TYPE_CHECKING:
    from repodojo.train.loop import Training


REPLAY = "replay"


class Memory:
    """All of it comes from the run's rows, metrics and checkpoint, so a resumed run remembers the same."""

    def __init__(self, training: Training, span: Span) -> None:
        self._config = span.config
        used = span.config.rollout.prefixes or span.config.tasks.sampling == "difficulty"
        self._ledger = Ledger(training.run) if used else None
        self.prefixes: Prefixes | None = None
        if span.config.rollout.prefixes and self._ledger:
            self.prefixes = Prefixes(training.run, self._ledger, span.config.rollout.prefix_skew)

        self.cache: Cache | None = None
        if span.config.replay.capacity:
            self.cache = Cache(span.config.replay, span.config.run.seed, training.kept.get(REPLAY, ()))

    def mixed(self, batch: Batch, step: int) -> Batch:
        """With samples of earlier steps, where they are kept."""
        return self.cache.mix(batch, step) if self.cache else batch

    def extra(self) -> dict[str, Any]:
        """What a checkpoint holds beside the learner."""
        return {REPLAY: self.cache.state()} if self.cache else {}

    def before_step(self, training: Training) -> None:
        """Weigh the tasks by what is known of them now."""
        cursor = training.cursor
        if self._ledger and isinstance(cursor, WeightedCursor):
            size, floor = self._config.rollout.group_size, self._config.tasks.sampling_floor
            weights = self._ledger.weights(cursor.task_ids, group_size=size, floor=floor)
            training.cursor = cursor.weighed(weights)

    def after_step(self, seen: Sequence[Trajectory]) -> dict[str, float]:
        """Take in the step's episodes; the figures that belong to it."""
        found: dict[str, float] = {}
        if self._ledger:
            self._ledger.add(seen)
        if self.cache:
            found |= self.cache.figures
        if self.prefixes:
            found |= self.prefixes.learn(seen)
        return found
