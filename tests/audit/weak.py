"""A reward that deserves no trust."""

from __future__ import annotations

from collections.abc import Mapping

from repodojo.core.protocols import SandboxFactory
from repodojo.core.records import Score, Task, Trajectory


class WeakReward:
    """What many graders do: the agent's whole working copy is run as it is, and the exit code believed."""

    def __init__(self, factory: SandboxFactory) -> None:
        self.factory = factory

    async def score(self, task: Task, changes: Mapping[str, bytes | None], trajectory: Trajectory | None) -> Score:
        box = await self.factory.create(task.environment)
        for path, data in changes.items():
            await box.write(path, data)
        ids = [name.removeprefix("pytest:") for name in task.visible_tests if name.startswith("pytest:")]
        words = ["-q", "-p", "no:cacheprovider", *(ids or ["--doctest-modules", task.focus[0].partition("::")[0]])]
        done = await box.exec(["python", "-m", "pytest", *words])
        await box.close()
        return Score(float(done.exit_code in (0, 5)))
