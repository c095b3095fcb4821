"""The reward of a task by its grader's kind."""

from __future__ import annotations

from collections.abc import Mapping

from repodojo.core.editing import is_edit
from repodojo.core.protocols import Reward, SandboxFactory
from repodojo.core.records import Score, Task, Trajectory
from repodojo.rewards.cache import VerdictCache
from repodojo.rewards.edem import EditReward
from repodojo.rewards.grade import TestReward
from repodojo.rewards.graders.command import OF_PARSER, CommandReward


class GradedReward:
    """TestReward for test ids of Python, EditReward for code edits, CommandReward for the rest; one cache of verdicts.

    >>> reward = GradedReward(LocalFactory(Path("tasks")))                   # doctest: +SKIP
    >>> (await reward.score(task, gold_changes, None)).value                 # doctest: +SKIP
    1.0
    """

    def __init__(self, factory: SandboxFactory, *, cache: VerdictCache | None = None, warm: bool = True) -> None:
        cache = cache or VerdictCache()
        self.tests = TestReward(factory, cache=cache, warm=warm)
        self.commands = CommandReward(factory, cache=cache)
        self.edits = EditReward()

    async def score(self, task: Task, changes: Mapping[str, bytes | None], trajectory: Trajectory | None) -> Score:
        """Grade `changes`; GradingError where the grader's record lacks what its kind needs."""
        reward: Reward = self.commands
        if task.grader.kind == "f2p_p2p" and task.grader.parser not in OF_PARSER:
            reward = self.tests
        if is_edit(task):
            reward = self.edits
        return await reward.score(task, changes, trajectory)
