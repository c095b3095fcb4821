"""The tables of known commands: names, styles of options, and the options themselves (see tables/*.txt)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from repodojo.rewards.commands.syntax import Shell

Style = Literal["getopt", "words", "wraps", "free", "cmdlet", "switch"]


@dataclass(frozen=True)
class Known:
    """One command: its canonical name (what an alias stands for), how its options are written, and which there are.

    letters: of getopt, with True for those that take a value;  names: long names, words, parameters or switches
    """

    name: str
    style: Style
    letters: tuple[tuple[str, bool], ...] = ()
    names: tuple[str, ...] = ()
    dash: bool = False


COMMON = [
    "Verbose",
    "Debug",
    "ErrorAction",
    "WarningAction",
    "InformationAction",
    "ErrorVariable",
    "WarningVariable",
    "InformationVariable",
    "OutVariable",
    "OutBuffer",
    "PipelineVariable",
    "ProgressAction",
]
"""Parameters of every cmdlet (about_CommonParameters)."""


@cache
def table(shell: Shell) -> dict[str, Known]:
    """Names, in lower case where the shell does not tell cases apart, to what is known of them."""
    found: dict[str, Known] = {}
    for line in _lines(shell):
        for name, known in _READERS[shell](line):
            found[name] = known
    return found


def _lines(shell: Shell) -> Iterator[str]:
    path = files("repodojo.rewards.commands") / "tables" / f"{shell}.txt"
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("# "):
            yield line


def _bash(line: str) -> Iterator[tuple[str, Known]]:
    head, _, rest = line.partition(" ")
    style, _, spec = rest.partition(" ")
    short, _, long = spec.partition("|")
    names = head.split(",")
    assert style in ("getopt", "words", "wraps", "free"), line
    words = tuple(short.split()) if style == "words" else tuple(long.split())
    letters = () if style in ("words", "free") else tuple(_letters(short.strip()))
    for name in names:
        yield name, Known(name, style, letters, words)  # type: ignore[arg-type]


def _letters(spec: str) -> Iterator[tuple[str, bool]]:
    """`ab:c::` as a (no value), b (a value), c (perhaps a value, and then in the same word)."""
    place = 0
    while place < len(spec):
        letter, colons = spec[place], 0
        while spec[place + 1 + colons : place + 2 + colons] == ":":
            colons += 1
        place += 1 + colons
        yield letter, colons > 0


def _powershell(line: str) -> Iterator[tuple[str, Known]]:
    head, *words = line.split()
    if head == "free":
        yield from ((name.lower(), Known(name, "free")) for name in words)
        return
    if head == "cmd":
        yield from ((name, table("cmd")[name.removesuffix(".exe")]) for name in words)
        return
    names = head.split(",")
    parameters = () if words == ["-"] else tuple(words)
    for name in names:
        yield name.lower(), Known(names[0], "cmdlet", (), (*parameters, *COMMON))


def _cmd(line: str) -> Iterator[tuple[str, Known]]:
    head, *words = line.split()
    names = head.split(",")
    style: Style = "free" if words == ["free"] else "switch"
    for name in names:
        if words == ["gnu"]:
            yield name, table("bash")[name]
        else:
            options = tuple(word.lower() for word in words if word not in ("dash", "-"))
            yield name, Known(_SAME.get(name, name), style, (), options, dash="dash" in words)


_SAME = {"erase": "del", "md": "mkdir", "rd": "rmdir", "chdir": "cd", "rename": "ren"}
_READERS = {"bash": _bash, "powershell": _powershell, "cmd": _cmd}


def look_up(name: str, shell: Shell) -> Known | None:
    """What is known of a command by this name. Cases differ in bash alone; .exe and its like are no part of a name.

    >>> look_up("LS", "powershell").name, look_up("LS", "bash")
    ('Get-ChildItem', None)
    """
    if shell == "bash":
        return table(shell).get(name)
    lower = name.lower()
    if shell == "cmd" and re.match(r"echo[.:;,+=\[\]]", lower):  # prints what follows, an empty line say
        lower = "echo"
    known = table(shell).get(lower)
    stem, _, ending = lower.rpartition(".")
    return known or (table(shell).get(stem) if ending in ("exe", "com", "cmd", "bat") else None)
