"""The random explorer in shell commands: it lists the definition, then tries edits of it, each from the sound copy.

Its first command notes the file's name, keeps a copy, writes a small editor (`helper.py`, as it stands) and lists the
definition. Every try is one command: that editor changes a piece of the copy, and the visible tests run. A number, what
gives way and what it becomes are told as the built-in agent's editor is told them, in lines numbered alike: all that a
base which speaks to that one has to learn is the form.
Nothing here knows what was broken, as with the explorer of the built-in agent, whose edits these are.
"""

from __future__ import annotations

import inspect
import random
import re

from repodojo.agent.scripted.edits import Edit, Listing
from repodojo.agent.scripted.scripts import slip
from repodojo.train.minibase import helper
from repodojo.train.minibase.helper import COPY, NOTE
from repodojo.train.minibase.prompts import END, FENCE, SUBMIT, action

LINES = 20
HELPER = "/tmp/e"
# Then numbered lines without blank ones and docstrings, from the definition on.
SHOW = (
    f" > {NOTE}; cp $(cat {NOTE}) {COPY}; cat > {HELPER} <<'PY'\n{inspect.getsource(helper)}PY\n"
    f'nl -ba -w1 {COPY} | sed \'/^[0-9]*\\t$/d;/""".*"""/d;/"""/,/"""/d\' | grep -m1 -A{LINES} \'def '
)
TRY, OLD, NEW, TESTS = f"python {HELPER} ", " -- '", "' -- '", "' && repro"
ALIKE = {
    f"{FENCE}{TRY}": '{"name": "editor", "arguments": {"command": "str_replace", "line": ',
    OLD: ', "old_str": "',
    NEW: '", "new_str": "',
    f"{TESTS}{END}": '"}}',
    action(SUBMIT): '{"name": "submit", "arguments": {}}',
}
"""Fixed parts of the commands, one token each, and what they are to who speaks to the built-in agent's editor."""
HEADS = (*ALIKE, f"{FENCE}echo ", SHOW, f"('{END}")

_NUMBERED = re.compile(r"^(\d+)\t(.*)$", re.MULTILINE)
_GREEN = re.compile(r"<returncode>0</returncode>")


def listing_of(text: str) -> Listing:
    """What can be tried on the definition that a numbered listing begins with."""
    found = _within([(int(number), line) for number, line in _NUMBERED.findall(text)])
    return Listing("\n".join(line for _, line in found), [number for number, _ in found])


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
    """Lists, then tries edits, never the same twice; submits mostly when the tests pass, and at times without.

    faults: share of its tries that change nothing, and of its listings that name no file: then it goes on
    """

    def __init__(self, path: str, name: str, rng: random.Random, faults: float = 0.0) -> None:
        self.path, self.name, self.rng, self.faults = path, name, rng, faults
        self.listing: Listing | None = None
        self.seen: set[Edit] = set()

    def act(self, heard: str) -> str:
        """The next answer; heard: the last observation ("" at the start)."""
        if self.listing is None and _NUMBERED.search(heard):
            self.listing = listing_of(heard)
        elif self.listing is None:
            return self._list(wrong=not heard and self.rng.random() < self.faults)
        elif self.rng.random() < (0.6 if _GREEN.search(heard) else 0.03):
            return action(SUBMIT)
        for _ in range(20):
            edit = slip(self.listing, self.rng) if self.rng.random() < self.faults else self.listing.draw(self.rng)
            if edit is not None and edit not in self.seen and "'" not in edit.old + edit.new:
                self.seen.add(edit)
                return action(f"{TRY}{edit.line}{OLD}{edit.old}{NEW}{edit.new}{TESTS}")
        return action(SUBMIT)

    def _list(self, *, wrong: bool) -> str:
        """wrong: without the first folder of the name, as where it is taken for another that begins alike."""
        path = self.path.split("/", 1)[-1] if wrong else self.path
        return action(f"echo {path}{SHOW}{self.name}('")
