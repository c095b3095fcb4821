"""`command_accuracy` by shell: what the commands of an evaluation's episodes, or of a set of prompts, amount to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from repodojo.core.records import Trajectory
from repodojo.rewards.commands import SHELLS, Verdict
from repodojo.rewards.commands.episode import issued


@dataclass(frozen=True)
class CommandFigures:
    """Commands of one shell. Shares are of all that were issued; None where nothing could tell.

    command_accuracy: share that is right;  parses, shell, known, parameters: shares of which it is told that they hold
    ran: of those that were run, the share that was found;  exit_zero: of those, the share with exit status 0
    """

    issued: int
    command_accuracy: float
    parses: float
    shell: float
    known: float | None
    parameters: float | None
    ran: float | None
    exit_zero: float | None


def by_shell(trajectories: Iterable[Trajectory], system_of: Callable[[str], str]) -> dict[str, CommandFigures]:
    """The figures of each shell that commands were issued for; `system_of` maps a task's id to its system."""
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    for trajectory in trajectories:
        for found in issued(trajectory.turns, system_of(trajectory.task_id)):
            verdicts[found.shell].append(found.verdict())
    return {shell: figures(verdicts[shell]) for shell in SHELLS if verdicts[shell]}


def figures(verdicts: Sequence[Verdict], right: Sequence[bool] | None = None) -> CommandFigures:
    """Of at least one verdict; `right` where more than the verdict was checked."""
    ran = [v.ran for v in verdicts if v.ran is not None]
    return CommandFigures(
        issued=len(verdicts),
        command_accuracy=_share(right if right is not None else [v.right for v in verdicts]) or 0.0,
        parses=_share([v.parses for v in verdicts]) or 0.0,
        shell=_share([v.shell for v in verdicts]) or 0.0,
        known=_share([v.known for v in verdicts if v.known is not None]),
        parameters=_share([v.parameters for v in verdicts if v.parameters is not None]),
        ran=_share(ran),
        exit_zero=_share([v.exit_code == 0 for v in verdicts if v.ran is not None]),
    )


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
