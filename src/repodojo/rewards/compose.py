"""The reward that a formula describes: the tests' verdict first, then checks, process and intermediate scores."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from repodojo.core.digest import fingerprint
from repodojo.core.editing import is_edit
from repodojo.core.errors import OutageError
from repodojo.core.protocols import Reward, Sandbox, SandboxFactory
from repodojo.core.recent import Recent
from repodojo.core.records import Score, Task, Trajectory
from repodojo.rewards import checks, intermediate
from repodojo.rewards.formula import Formula
from repodojo.rewards.grade import ATTEMPTS
from repodojo.rewards.process import SCORES
from repodojo.rewards.process.gather import Repository, counted, repository, work
from repodojo.rewards.process.work import Work

T = TypeVar("T")

OF_EPISODES = {
    "parallelism",
    "commands",
    "tool_errors",
    "tokens",
}  # scores of how it was done, not of what was left behind: never remembered
REMEMBERED = 20_000
REPOSITORIES = 64


def composed(tests: Reward, factory: SandboxFactory, formula: Formula) -> Reward:
    """The reward of a formula on top of the tests' verdict; that verdict itself where the formula adds nothing."""
    return tests if formula.plain else ComposedReward(tests, factory, formula)


class ComposedReward:
    """Scores with `parts["solved"]` (1 where tests and checks hold), each part by name, and `parts["bonus"]`.

    Process scores are worked out for solved tasks alone, intermediate ones for the others alone. A code edit has but
    one part, `edit` (its edit distance, an intermediate score); without any it is paid by text as it stands.
    """

    def __init__(self, tests: Reward, factory: SandboxFactory, formula: Formula) -> None:
        self.tests, self.factory, self.formula = tests, factory, formula
        self._known: Recent[tuple[str, str, bool], dict[str, float]] = Recent(REMEMBERED)
        self._repositories: Recent[str, Repository] = Recent(REPOSITORIES)

    async def score(self, task: Task, changes: Mapping[str, bytes | None], trajectory: Trajectory | None) -> Score:
        """The composed score; None with the error's name where the tests or a part met an outage."""
        verdict = await self.tests.score(task, changes, trajectory)
        if verdict.value is None:
            return verdict
        name = ""
        for _ in range(ATTEMPTS):
            try:
                parts = await self._parts(task, changes, trajectory, verdict)
            except OutageError as error:
                name = type(error).__name__
                continue
            value = self.formula.value(bool(parts["solved"]), parts)
            if is_edit(task) and not parts["solved"] and not self.formula.partial:
                value = verdict.value
            parts["bonus"] = value - 1.0 if parts["solved"] else 0.0
            return replace(verdict, value=value, parts={**verdict.parts, **parts})
        return Score(None, error=name, seconds=verdict.seconds)

    async def _parts(
        self, task: Task, changes: Mapping[str, bytes | None], trajectory: Trajectory | None, verdict: Score
    ) -> dict[str, float]:
        key = (task.id, fingerprint(changes), verdict.solved)
        if key not in self._known:
            self._known[key] = await self._of_changes(task, changes, verdict)
        parts = dict(self._known[key])
        boxed = parts["solved"] and not is_edit(task)
        timely = OF_EPISODES.intersection(self.formula.process()) if boxed else set()
        seen = Work(task, {}, {}, trajectory=trajectory, tokens_target=self.formula.tokens_target)
        for name in sorted(timely):
            parts[name] = await SCORES[name](seen)
        return parts

    async def _of_changes(self, task: Task, changes: Mapping[str, bytes | None], verdict: Score) -> dict[str, float]:
        """The parts that the changes decide."""
        formula, parts = self.formula, dict[str, float]()
        if is_edit(task):  # no box, so neither checks nor process scores
            return {"solved": float(verdict.solved), "edit": verdict.parts["ed"]}
        if formula.checks and (verdict.solved or "checks" in formula.partial):
            parts["checks"] = await self._in_box(self._checked, task, changes)
        solved = verdict.solved and parts.get("checks", 1.0) == 1.0
        parts["solved"] = float(solved)
        if solved and set(formula.process()) - OF_EPISODES:
            seen = await self._in_box(self._work, task, changes)
            for name in formula.process():
                if name not in OF_EPISODES:
                    parts[name] = await SCORES[name](seen)
        if not solved and "hidden" in formula.partial:
            parts["hidden"] = intermediate.hidden(verdict)
        if not solved and {"compile", "lint"} & set(formula.partial):
            found = await intermediate.reductions(await self._in_box(self._work, task, changes))
            parts.update({name: value for name, value in found.items() if name in formula.partial})
        return parts

    async def _in_box(
        self,
        use: Callable[[Sandbox, Task, Mapping[str, bytes | None]], Awaitable[T]],
        task: Task,
        changes: Mapping[str, bytes | None],
    ) -> T:
        box = await self.factory.create(task.environment)
        try:
            return await use(box, task, changes)
        finally:
            await box.close()

    async def _checked(self, box: Sandbox, task: Task, changes: Mapping[str, bytes | None]) -> float:
        return await checks.share(self.formula.checks, box, counted(task, changes))

    async def _work(self, box: Sandbox, task: Task, changes: Mapping[str, bytes | None]) -> Work:
        if task.id not in self._repositories:
            self._repositories[task.id] = await repository(box)
        return await work(task, changes, self._repositories[task.id], box, None)
