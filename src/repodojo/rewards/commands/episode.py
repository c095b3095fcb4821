"""The terminal commands of an episode: which tool calls issue one, and for which shell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from repodojo.core.records import Turn
from repodojo.rewards.commands.judge import Verdict, judge
from repodojo.rewards.commands.syntax import Shell

TOOLS: dict[str, Shell] = {
    "bash": "bash", "sh": "bash", "powershell": "powershell", "pwsh": "powershell", "cmd": "cmd",
}  # fmt: skip
"""Tools that run a command line in the shell of their name."""
TERMINALS = ("terminal", "shell", "run_command", "execute_command")
"""Tools that run one in the shell of the system."""
OF_SYSTEM: dict[str, tuple[Shell, ...]] = {"windows": ("powershell", "cmd")}
"""The shells of a system, the usual one first; every other system has bash alone."""


@dataclass(frozen=True)
class Issued:
    """One command that an agent issued. `error` is the tool's ("timeout", ...)."""

    shell: Shell
    text: str
    exit_code: int | None = None
    error: str = ""
    system: str = "linux"

    def verdict(self) -> Verdict:
        """What is to be said of it. A shell that the system does not have is not the right one."""
        found = _judged(self.text, self.shell, self.exit_code)
        if found.shell and self.shell not in OF_SYSTEM.get(self.system, ("bash",)):
            why = found.why or f"{self.system} is not declared to have {self.shell}"
            return Verdict(found.parses, False, found.known, found.parameters, found.ran, found.exit_code, why)
        return found


def issued(turns: Sequence[Turn], system: str = "linux") -> Iterator[Issued]:
    """The commands of these turns in order; `system` is the operating system that the task declares."""
    for turn in turns:
        for call, result in zip(turn.calls, turn.results, strict=False):
            shell = shell_of(call.name, system)
            text = _text(call.arguments)
            if shell is not None and text is not None:
                yield Issued(shell, text, result.exit_code, result.error, system)


def shell_of(tool: str, system: str = "linux") -> Shell | None:
    """The shell that a tool of this name runs; None where it is no terminal."""
    if tool in TERMINALS:
        return OF_SYSTEM.get(system, ("bash",))[0]
    return TOOLS.get(tool)


def _text(arguments: Any) -> str | None:
    text = arguments.get("command")
    return text if isinstance(text, str) else None


@lru_cache(maxsize=20_000)
def _judged(text: str, shell: Shell, exit_code: int | None) -> Verdict:
    """Episodes of a task issue the same commands over and over."""
    return judge(text, shell, exit_code=exit_code)
