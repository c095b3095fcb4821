"""`exit_code`: the command must end with 0, or with `expected["exit_code"]`.

Forgeable by whatever makes the process end so: `os._exit(0)` in code that the command imports, an exit handler, a
command that does not look. The weakest of all graders; give it a command that runs the code in a child process.
"""

from __future__ import annotations

from repodojo.core.records import Score, Task
from repodojo.rewards.graders.base import Ran, verdict


class ExitCode:
    """The command's exit code."""

    def files(self, task: Task, result: str) -> dict[str, str]:
        return {}

    def variables(self, task: Task, result: str) -> dict[str, str]:
        return {}

    def score(self, task: Task, ran: Ran) -> Score:
        return verdict(str(ran.exit_code) == task.grader.expected.get("exit_code", "0"))
