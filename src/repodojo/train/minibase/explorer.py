"""The random explorer in shell commands: it lists the definition, then tries edits of it, each from the sound copy.

A try is one command: `sed` writes the edited copy over the file, and the visible tests run. So every try begins at the
same file, whose name the first command noted. The line's number stands in the listing as the command writes it, `s|`
included, and what gives way is as short as in the built-in agent's edits: a small model has to look a line up, copy a
piece of it, and write another.
Nothing here knows what was broken, as with the explorer of the built-in agent, whose edits these are.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from repodojo.agent.scripted.edits import Candidate, Listing
from repodojo.train.minibase.prompts import END, FENCE, SUBMIT, action

COPY, NOTE = "/tmp/a", "/tmp/p"
LINES = 20
# Numbered lines without blank ones and docstrings, from the definition on.
SHOW = (
    f" > {NOTE}; cp $(cat {NOTE}) {COPY} && nl -ba -w1 '-ss|' {COPY}"
    f' | sed \'/^[0-9]*s|$/d;/""".*"""/d;/"""/,/"""/d\' | grep -m1 -A{LINES} \'def '
)
TRY = f"|' {COPY} > $(cat {NOTE}) && repro"
HEADS = (f"{FENCE}echo ", f"{FENCE}sed '", action(SUBMIT), SHOW, f"('{END}", f"{TRY}{END}")
"""Fixed parts of the commands, one token each."""
LABELS = (*(f"{number}s|" for number in range(10)), *(f"{number:02}s|" for number in range(100)))
"""The end of a line's number as a listing and a command have it, one token each: what is copied is looked up by it."""

_NUMBERED = re.compile(r"^(\d+)s\|(.*)$", re.MULTILINE)
_GREEN = re.compile(r"<returncode>0</returncode>")


@dataclass(frozen=True)
class Substitution:
    """The first `old` of a line gives way to `new`."""

    line: int
    old: str
    new: str

    def script(self) -> str:
        """For sed."""
        return f"{self.line}s|{escaped(self.old)}|{self.new.replace('&', chr(92) + '&')}"


def escaped(text: str) -> str:
    """Text as a basic regular expression that matches it; `.` may stand for itself."""
    return re.sub(r"([\[*^$])", r"\\\1", text)


def writable(text: str) -> bool:
    """Whether a command holds it as it stands: no quote, no delimiter, nothing that the shell or sed reads."""
    return text.isascii() and text.isprintable() and not set(text) & set("'|\\")


class Shown:
    """A numbered listing, and what can be tried on the definition that it begins with."""

    def __init__(self, text: str) -> None:
        found = _within([(int(number), line) for number, line in _NUMBERED.findall(text)])
        self.listing = Listing("\n".join(line for _, line in found), [number for number, _ in found])

    def draw(self, rng: random.Random, tries: int = 20) -> Substitution | None:
        """A random edit: a family, then one of its candidates; None where the listing offers none."""
        families = sorted(self.listing.by_family)
        for _ in range(tries if families else 0):
            made = self.substitution(rng.choice(self.listing.by_family[rng.choice(families)]))
            if made is not None:
                return made
        return None

    def substitution(self, candidate: Candidate) -> Substitution | None:
        """The piece that changes, as the editor would be told it; the line from its start on where sed would take that
        for an earlier one; None where a command cannot hold it."""
        row, line = self.listing.pieces[candidate.line], self.listing.lines[candidate.line]
        end = row[candidate.last - 1].end
        # blanks before the first piece are the line's indentation
        start = row[candidate.first].start if candidate.first else len(line) - len(line.lstrip())
        text = candidate.text if candidate.first else candidate.text.lstrip()
        old, new = line[:end], line[:start] + text
        edit = self.listing.edit(candidate)
        if edit is not None and _by_sed(edit.old, edit.new, line) == new + line[end:]:
            old, new = edit.old, edit.new
        usable = writable(old) and writable(new) and old != new
        return Substitution(self.listing.numbers[candidate.line], old, new) if usable else None


def _by_sed(old: str, new: str, line: str) -> str:
    """The line with its first `old` replaced, whose points stand for any letter."""
    return re.sub(".".join(map(re.escape, old.split("."))), lambda _: new, line, count=1)


def _within(found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The lines of the first definition: up to the first one that is indented no deeper, its signature's end apart."""
    if not found:
        return []
    depth = _depth(found[0][1])
    for at, (_, line) in enumerate(found[1:], 1):
        if line.strip() and _depth(line) <= depth and not line.lstrip().startswith((")", "]")):
            return found[:at]
    return found


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


class Explorer:
    """Lists, then tries edits, never the same twice; submits mostly when the tests pass, and at times without."""

    def __init__(self, path: str, name: str, rng: random.Random) -> None:
        self.path, self.name, self.rng = path, name, rng
        self.shown: Shown | None = None
        self.seen: set[str] = set()

    def act(self, heard: str) -> str:
        """The next answer; heard: the last observation ("" at the start)."""
        if not heard:
            return action(f"echo {self.path}{SHOW}{self.name}('")
        if self.shown is None:
            self.shown = Shown(heard)
        elif self.rng.random() < (0.6 if _GREEN.search(heard) else 0.03):
            return action(SUBMIT)
        for _ in range(20):
            drawn = self.shown.draw(self.rng)
            if drawn is not None and drawn.script() not in self.seen:
                self.seen.add(drawn.script())
                return action(f"sed '{drawn.script()}{TRY}")
        return action(SUBMIT)
