"""style: new findings of ruff, by the repository's own configuration, and broken habits, for each line added.

    score = max(0, 1 - (new + broken) / added)    new: findings (rule and line) that the files did not have before
                                                  broken: lines added that break a habit of their file (see `habits`)
                                                  added: lines added to Python files, at least 1

Gamed by: `# noqa` on the lines at fault, and padding with faultless lines; `size` counts both. Where the repository has
no configuration, or one that this ruff refuses, ruff's defaults count.
"""

from __future__ import annotations

from repodojo.core.errors import GradingError
from repodojo.rewards import linting
from repodojo.rewards.process import habits
from repodojo.rewards.process.work import Work, added


async def score(work: Work) -> float:
    """1 where nothing new is found. GradingError where ruff fails on the repository as it was."""
    after = work.python()
    if not after:
        return 1.0
    before = {path: work.base[path] for path in after if path in work.base}
    settings = work.configuration if await linting.usable(work.configuration) else {}
    try:
        old = await linting.findings(before, settings)
    except linting.RuffRefused as error:
        raise GradingError(f"ruff: {error}") from None
    try:
        now = await linting.findings(after, settings)
    except linting.RuffRefused:  # it answered on the files as they were: these are the agent's
        return 0.0
    new = sum(sum((now[path] - old.get(path, type(now[path])())).values()) for path in after)
    runs = {path: added(work.base.get(path, ""), text) for path, text in after.items()}
    broken = sum(habits.broken(work.base.get(path, ""), text, runs[path]) for path, text in after.items())
    lines = sum(last - first for found in runs.values() for first, last in found)
    return max(0.0, 1.0 - (new + broken) / max(lines, 1))
