"""Whether a solution is paid: asked of the grader while tasks are made, where it might refuse a sound one.

The grader distrusts changes that add names with which results can be forged (`rewards.plain`), unless answers from
outside the process vouch for them. A task whose very solution adds such a name and that nothing can vouch for is never
paid, whatever an agent does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from repodojo.core.protocols import SandboxFactory
from repodojo.core.records import Task
from repodojo.rewards.graders.graded import GradedReward
from repodojo.rewards.plain import CALLS, MEMBERS, MODULES, forges
from repodojo.tasks.discover import FunctionInfo
from repodojo.tasks.gold import gold_changes
from repodojo.tasks.mutate import Mutant

NAMES = CALLS | MEMBERS | MODULES
WORD = re.compile(r"\w+")
Broken = Sequence[tuple[FunctionInfo, Mutant]]


def suspect(broken: Broken) -> bool:
    """Whether taking the edits back adds a name that could forge results. Parses only where such a name stands in what
    an edit replaced."""
    for function, mutant in broken:
        sound, edit = function.text.source, mutant.edit
        named = NAMES.intersection(WORD.findall(sound[edit.start : edit.end]))
        if named and forges(function.path, sound.encode(), edit.apply(sound).encode()):
            return True
    return False


class Payable:
    """Grades the solution of suspect tasks, and takes all others as paid.

    >>> await Payable(factory, store)(task, [(function, mutant)])       # doctest: +SKIP
    True
    """

    def __init__(self, factory: SandboxFactory, store: Path) -> None:
        self.store, self.reward = store, GradedReward(factory)

    async def __call__(self, task: Task, broken: Broken) -> bool:
        if not suspect(broken):
            return True
        score = await self.reward.score(task, gold_changes(self.store, task), None)
        return score.value == 1.0
