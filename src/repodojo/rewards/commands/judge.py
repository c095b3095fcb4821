"""The verdict on one command line: does it parse, is it this shell's, are its commands and parameters known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from repodojo.rewards.commands import options
from repodojo.rewards.commands.syntax import SHELLS, Invocation, Shell, parse
from repodojo.rewards.commands.tables import look_up

NOT_FOUND = (126, 127)
"""What bash exits with where a command cannot be run or is not there."""

_SIGNS: dict[Shell, re.Pattern[str]] = {
    "bash": re.compile(r"\$env:\w|%[A-Za-z_]\w*%|\[[A-Z]\w+(?:\.\w+)*\]::|(?:^|[|;&]\s*)\$\w+\s*="),
    "powershell": re.compile(r"%[A-Za-z_]\w*%|(?:^|[|;&]\s*)\w+=[^=]|\$\{?\w+[%#]|>\s*nul\b|/dev/null"),
    "cmd": re.compile(r"\$env:\w|\$\(|\$\{|\$_\b|/dev/null|(?:^|[|&]\s*)\w+=[^=]|;\s*\w|\[[A-Z]\w+(?:\.\w+)*\]::"),
}
"""Writing that belongs to another shell; looked for outside of single quotes (of double ones in cmd)."""
_WINDOWS_PATH = re.compile(r"[\w.*]\\[A-Za-z*]")  # src\app.py; bash would take the backslash away


@dataclass(frozen=True)
class Verdict:
    """`shell`: nothing in it belongs to another shell alone. None: not told, by tables or because it was not run.

    parses: the grammar is content   known: every command is in the tables   parameters: all their options are
    ran: it was started and found; exit_code: how it ended   why: the first thing that is wrong
    """

    parses: bool
    shell: bool
    known: bool | None
    parameters: bool | None
    ran: bool | None = None
    exit_code: int | None = None
    why: str = ""

    @property
    def right(self) -> bool:
        """Nothing is known to be wrong. A program of the project's own, in no table, is right unless not found."""
        return self.parses and False not in (self.shell, self.known, self.parameters, self.ran)


def judge(text: str, shell: Shell, *, exit_code: int | None = None, strict: bool = False) -> Verdict:
    """The verdict on `text` for a terminal that runs `shell`.

    `exit_code` says that it ran, and how it ended; a name in no table is then believed unless it was not found.
    `strict`: a name in no table is wrong, as where nothing can be run.

    >>> judge("ls -la", "bash").right, judge("Get-ChildItem -Recurse", "bash").right, judge("ls -la", "cmd").why
    (True, False, "'ls' belongs to bash and powershell")
    """
    parsed = parse(text, shell)
    if not parsed.ok:
        return Verdict(False, True, None, None, _ran(exit_code), exit_code, why=f"does not parse as {shell}")
    known: bool | None = True
    parameters: bool | None = True
    for call in _all(parsed.invocations, shell):
        entry = look_up(call.name, shell)
        if entry is None:
            if call.name in parsed.defined:
                continue
            if elsewhere := _elsewhere(call.name, shell):
                why = f"'{call.name}' belongs to {' and '.join(elsewhere)}"
                return Verdict(True, False, False, None, _ran(exit_code), exit_code, why)
            if strict and call.name and not _is_path(call.name):
                return Verdict(True, True, False, None, _ran(exit_code), exit_code, f"'{call.name}' is not known")
            known = parameters = None
        elif bad := options.unknown(call.words, entry):
            why = f"'{call.name}' has no {bad}"
            return Verdict(True, True, known, False, _ran(exit_code), exit_code, why)
        elif entry.style == "free" and parameters:
            parameters = None
    if sign := _foreign(text, shell):
        return Verdict(True, False, known, parameters, _ran(exit_code), exit_code, f"'{sign}' is not {shell}'s")
    ran = _ran(exit_code)
    return Verdict(True, True, known, parameters, ran, exit_code, "not found" if ran is False else "")


def _all(calls: tuple[Invocation, ...], shell: Shell) -> Iterator[Invocation]:
    """Every invocation, and what sudo, xargs and their like are told to run."""
    for call in calls:
        waiting: Invocation | None = call
        while waiting is not None:
            yield waiting
            entry = look_up(waiting.name, shell)
            waiting = options.inner(waiting.words, entry) if entry is not None and entry.style == "wraps" else None


def names(text: str, shell: Shell) -> set[str]:
    """Names of all that a command line invokes in lower case, as written and as what an alias stands for."""
    found = set()
    for call in _all(parse(text, shell).invocations, shell):
        entry = look_up(call.name, shell)
        found |= {call.name.lower().removesuffix(".exe")} | ({entry.name.lower()} if entry else set())
    return found


def _elsewhere(name: str, shell: Shell) -> list[Shell]:
    return [other for other in SHELLS if other != shell and look_up(name, other) is not None]


def _is_path(name: str) -> bool:
    """A program named by its place or its ending: no table can know it."""
    return "/" in name or "\\" in name or bool(re.search(r"\.(py|sh|ps1|bat|cmd|exe|js)$", name, re.IGNORECASE))


def _ran(exit_code: int | None) -> bool | None:
    return None if exit_code is None else exit_code not in NOT_FOUND


def _foreign(text: str, shell: Shell) -> str:
    """The first sign of another shell. Single quotes protect text in bash and PowerShell, double ones in cmd."""
    protected = r'"[^"]*"' if shell == "cmd" else r"'[^']*'"
    bare = re.sub(protected, lambda found: "'" + "_" * (len(found[0]) - 2) + "'", text)
    match = _SIGNS[shell].search(bare)
    if match is None and shell == "bash":
        match = _WINDOWS_PATH.search(re.sub(r'"(?:\\.|[^"\\])*"', '""', bare))
    return match[0].strip() if match else ""
