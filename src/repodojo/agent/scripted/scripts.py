"""The scripted references of every table, and the random explorer that the base learns the tools from."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace as replace_parts

from repodojo.agent.policy import ScriptedPolicy, ScriptMaker
from repodojo.agent.scripted.edits import Edit, Listing, plain
from repodojo.agent.scripted.lexer import pieces_of
from repodojo.core.errors import ConfigError
from repodojo.inference.chat import ChatFormat
from repodojo.inference.toolcalls import render

_CODE = re.compile(r"```python\n(\d+\t.*?)\n```", re.DOTALL)
_LINE = re.compile(r"^(\d+)\t(.*)$", re.MULTILINE)
_COMMAND = re.compile(r"^Run `([^`]+)`", re.MULTILINE)
SUBMIT = render("submit", {})
UNDO = render("editor", {"command": "undo"})


def listing_of(texts: Sequence[str]) -> Listing:
    """The listing that the opening shows; an empty one where the harness retrieved none."""
    match = _CODE.search(texts[1])
    lines = _LINE.findall(match[1]) if match else []
    return Listing("\n".join(line for _, line in lines), [int(number) for number, _ in lines])


def run_tests(texts: Sequence[str]) -> str:
    """The call that runs what the issue says to run."""
    match = _COMMAND.search(texts[1])
    return render("bash", {"command": match[1] if match else "python -m pytest -q"})


def replace(edit: Edit) -> str:
    """The call that makes an edit."""
    return render("editor", {"command": "str_replace", "line": edit.line, "old_str": edit.old, "new_str": edit.new})


def is_green(output: str) -> bool:
    """Whether a test run's output reports passes and nothing else."""
    last = output.rstrip().rsplit("\n", 1)[-1]
    return bool(re.search(r"\d+ passed", last)) and not re.search(r"[1-9]\d* (failed|errors?)", last)


class RandomEdit:
    """One random well-typed edit, then submit."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def __call__(self, texts: Sequence[str]) -> str:
        edit = listing_of(texts).draw(self.rng) if len(texts) == 2 else None
        return replace(edit) if edit else SUBMIT


class NegateFirstIf:
    """The fixed shortcut: turn the first `if` around, then submit."""

    def __init__(self, seed: int) -> None:
        del seed  # a rule without chance

    def __call__(self, texts: Sequence[str]) -> str:
        if len(texts) > 2:
            return SUBMIT
        listing = listing_of(texts)
        for candidate in listing.by_family.get("negation", ()):
            if candidate.text.strip() == "if not":
                edit = listing.edit(candidate)
                if edit is not None:
                    return replace(edit)
        return SUBMIT


class TestedSearch:
    """Random edits, each tested and undone if red, never the same twice; submits when green, or as its turns end."""

    __test__ = False  # not a test class, whatever its name

    def __init__(self, seed: int, tries: int = 7) -> None:
        self.rng = random.Random(seed)
        self.tries = tries
        self.tried: set[Edit] = set()

    def __call__(self, texts: Sequence[str]) -> str:
        if (len(texts) > 2 and is_green(texts[-1])) or len(self.tried) >= self.tries:
            return SUBMIT
        listing = listing_of(texts)
        for _ in range(50):
            edit = listing.draw(self.rng)
            if edit is not None and edit not in self.tried:
                undo = [UNDO] if self.tried else []
                self.tried.add(edit)
                return "\n".join([*undo, replace(edit), run_tests(texts)])
        return SUBMIT


def slip(listing: Listing, rng: random.Random) -> Edit | None:
    """An edit that the editor refuses: nothing changed, or a snippet miscopied."""
    edit = listing.draw(rng)
    code = "\n".join(listing.lines)
    pieces = [line[p.start : p.end] for row, line in zip(listing.pieces, listing.lines, strict=True) for p in row]
    if edit is None:
        return None
    if rng.random() < 0.3:
        return replace_parts(edit, old=edit.old, new=edit.old)
    at = rng.choice(pieces_of(edit.old, 0))
    wrong = edit.old[: at.start] + rng.choice(pieces) + edit.old[at.end :]
    return replace_parts(edit, old=wrong, new=edit.new) if wrong not in code and plain(wrong) else None


class Explorer:
    """Random well-formed turns: edits, test runs, undos, looks around, sometimes a submit. It learns from nothing.

    Its edits are the random ones of the references, but never the same twice, and each is undone before the next one:
    what stands in the file is then what the opening shows, and that is what snippets are copied from.
    `faults` is the share that the editor will refuse: what follows shows how to go on after an error. An explorer with
    faults reads what the tests say, too, and most often submits when they pass; what it edits stays as random.
    """

    def __init__(self, seed: int, faults: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self.faults = faults
        self.standing = False  # whether an edit stands
        self.seen: set[Edit] = set()

    def __call__(self, texts: Sequence[str]) -> str:
        rng, listing = self.rng, listing_of(texts)
        if self._submits(texts[-1]):
            return SUBMIT
        if rng.random() < 0.04:
            return self._look(listing)
        calls = [UNDO] if self.standing else []
        self.standing = False
        if self.faults and rng.random() < self.faults:
            edit = slip(listing, rng)
        else:
            edit = self._edit(listing)
            self.standing = edit is not None
        if edit is not None:
            calls.append(replace(edit))
        if rng.random() < 0.9 or not calls:
            calls.append(run_tests(texts))
        return "\n".join(calls)

    def _submits(self, heard: str) -> bool:
        if not self.faults:
            return self.standing and self.rng.random() < 0.05
        return self.standing and self.rng.random() < (0.6 if is_green(heard) else 0.03)

    def _edit(self, listing: Listing, tries: int = 20) -> Edit | None:
        for _ in range(tries):
            edit = listing.draw(self.rng)
            if edit and edit not in self.seen:
                self.seen.add(edit)
                return edit
        return None

    def _look(self, listing: Listing) -> str:
        if self.rng.random() < 0.5 and listing.names:
            return render("search", {"query": self.rng.choice(listing.names)})
        first = self.rng.choice(listing.numbers) if listing.numbers else 1
        return render("editor", {"command": "view", "view_range": [first, first + self.rng.randint(3, 9)]})


def scripted(name: str, chat: ChatFormat, *, tries: int) -> ScriptedPolicy:
    """A policy by name; `tries` bounds tested-search, so that it gets as many as a model's turns allow."""
    makers: dict[str, ScriptMaker] = {
        "random-edit": RandomEdit,
        "negate-first-if": NegateFirstIf,
        "tested-search": lambda seed: TestedSearch(seed, tries),
        "explorer": Explorer,
    }
    if name not in makers:
        raise ConfigError(f"no policy '{name}'", way_out=f"use one of {', '.join(makers)}")
    return ScriptedPolicy(name, makers[name], chat)
