"""commands: terminal commands that are right for their shell (see rewards.commands).

    score = right / issued      issued: different command lines of the episode;  right: those that parse, belong to the
                                shell, name known commands and parameters, and were found when they ran

1 where none was issued: who needs no terminal has written nothing wrong. That a command failed does not make it wrong
(tests fail, grep finds nothing); that it is not there does. Gamed by: needless commands that are right; each different
one counts once, so they must at least differ, and they cost turns.
"""

from __future__ import annotations

from repodojo.rewards.commands.episode import issued
from repodojo.rewards.process.work import Work


async def score(work: Work) -> float:
    """1 where no command was wrong."""
    turns = work.trajectory.all_turns() if work.trajectory else ()
    by_line = {(found.shell, found.text.strip()): found for found in issued(turns, work.task.environment.os)}
    right = [found.verdict().right for found in by_line.values()]
    return sum(right) / len(right) if right else 1.0
