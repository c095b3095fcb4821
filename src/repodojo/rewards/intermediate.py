"""Intermediate rewards in [0, 1], for work that is not correct yet; what they pay stays below a correct answer.

hidden   half the share of fail_to_pass tests that pass; the other half, once all of those do, the share of pass_to_pass
         tests. Gamed by hard-coding inputs that the visible tests show, or by forging all results but one: a share is
         the word of the process under test, only full passes are asked again from outside.
checks   share of the command-line checks that hold. Gamed by whatever makes one command content.
compile  share of the repository's syntax errors that are gone. 0 where there were none. A deleted file keeps its
         count. Gamed by emptying the file.
lint     share of the repository's ruff findings that are gone. 0 where there were none. Gamed by mending style alone.
edit     1 - edit distance of a code edit's answer (see `edem`); of nothing else. Gamed by repeating what is there.
"""

from __future__ import annotations

from repodojo.core.errors import GradingError
from repodojo.core.records import Score
from repodojo.rewards import linting
from repodojo.rewards.process.work import Work

NAMES = ("hidden", "checks", "compile", "lint", "edit")


def hidden(score: Score) -> float:
    """From the parts that TestReward leaves; pass_to_pass tests run only once the others pass."""
    return (score.parts.get("f2p", 0.0) + score.parts.get("p2p", 0.0)) / 2


async def reductions(work: Work) -> dict[str, float]:
    """`compile` and `lint` of this work. GradingError where ruff fails on the repository as it was."""
    settings = work.configuration if await linting.usable(work.configuration) else {}
    try:
        before = await linting.findings(work.base, settings)
    except linting.RuffRefused as error:
        raise GradingError(f"ruff: {error}") from None
    try:
        deleted = {path: before[path] for path, text in work.changed.items() if text is None and path in before}
        after = {**deleted, **await linting.findings(work.after(), settings)}
    except linting.RuffRefused:  # it answered on the repository as it was
        return {"compile": 0.0, "lint": 0.0}
    return {
        name: _gone(*(_count(found, broken) for found in (before, after)))
        for name, broken in (("compile", True), ("lint", False))
    }


def _count(found: linting.Findings, broken: bool) -> int:
    return sum(n for counts in found.values() for (rule, _), n in counts.items() if (rule == linting.BROKEN) is broken)


def _gone(before: int, after: int) -> float:
    return max(0.0, (before - after) / before) if before else 0.0
