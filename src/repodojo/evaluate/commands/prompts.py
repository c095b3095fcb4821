"""The set of prompts: tasks of everyday work with a terminal, what is checked of an answer, and a reference answer.

prompts.jsonl holds an object a line: id ("list-hidden/bash"), shell, category, prompt, answer, use, match, run, effect.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from repodojo.core.codec import from_json
from repodojo.core.errors import UserError
from repodojo.rewards.commands import Shell, Verdict, judge
from repodojo.rewards.commands.judge import names

SYSTEMS: dict[Shell, str] = {"bash": "Linux", "powershell": "Windows", "cmd": "Windows"}


@dataclass(frozen=True)
class Prompt:
    """One task for one shell.

    use: groups of commands of which each must be invoked (canonical names in lower case; "" in a group: none need be)
    match: regular expressions that must all be found in the answer (in Windows' shells in any case)
    run: the reference runs to the end with exit status 0 in the fixture, and so must an answer
    effect: it changes files; an answer must leave the same ones as the reference does
    """

    id: str
    shell: Shell
    category: str
    prompt: str
    answer: str
    use: tuple[tuple[str, ...], ...] = ()
    match: tuple[str, ...] = ()
    run: bool = False
    effect: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of one prompt. `right`: the verdict is, and it does what was asked as far as that was checked."""

    prompt: Prompt
    text: str
    verdict: Verdict
    meets: bool
    why: str = ""

    @property
    def right(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.verdict.right and self.meets


@dataclass(frozen=True)
class Ran:
    """How an answer ran: its exit status (None: a limit), and whether it left the files that the reference leaves."""

    exit_code: int | None
    same_files: bool = True


def load(path: Path | None = None, shells: Sequence[Shell] = ()) -> list[Prompt]:
    """The prompts of a file, by default those that ship with the package; only of some shells where these are named.

    TaskError names the line and the field that is wrong; UserError where there is no such file or no prompt.
    """
    try:
        text = (path or files("repodojo.evaluate.commands") / "prompts.jsonl").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}", way_out="name a file of prompts") from None
    name = path.name if path else "prompts.jsonl"
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    found = [from_json(Prompt, line, where=f"{name}:{number}") for number, line in lines]
    if doubles := [known for known, count in Counter(p.id for p in found).items() if count > 1]:
        raise UserError(f"{name}: the id {doubles[0]} stands there twice", way_out="give each prompt an id of its own")
    kept = [prompt for prompt in found if not shells or prompt.shell in shells]
    if not kept:
        raise UserError(f"{name} holds no prompts for this", way_out="name a file of prompts, or other shells")
    return kept


def check(prompt: Prompt, text: str, ran: Ran | None = None) -> Outcome:
    """An answer against its prompt; `ran` where it was run."""
    verdict = judge(text, prompt.shell, exit_code=ran.exit_code if ran else None, strict=True)
    why = verdict.why or _missing(prompt, text)
    if not why and ran is not None:
        if ran.exit_code != 0:
            why = "met a limit" if ran.exit_code is None else f"exit status {ran.exit_code}"
        elif not ran.same_files:
            why = "leaves other files than it should"
    return Outcome(prompt, text, verdict, meets=not why, why=why)


def _missing(prompt: Prompt, text: str) -> str:
    """What the prompt asks for and the answer lacks."""
    invoked = names(text, prompt.shell)
    for group in prompt.use:
        if "" not in group and not invoked & set(group):
            return f"does not use {' or '.join(group)}"
    flags = re.NOFLAG if prompt.shell == "bash" else re.IGNORECASE
    for pattern in prompt.match:
        if not re.search(pattern, text, flags):
            return f"lacks {pattern}"
    return ""
