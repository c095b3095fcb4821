"""Whether the options of an invocation are those that its command has, by the habits of each shell."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from repodojo.rewards.commands.syntax import Invocation, Word
from repodojo.rewards.commands.tables import COMMON, Known, Style

ALWAYS = ("help", "version")


def unknown(words: Sequence[Word], known: Known) -> str:
    """The first option that the command does not have; "" where there is none.

    Values are told from options by the habits of getopt(3), find and cmd. What an expansion decides is not checked.
    """
    return _READ[known.style](words, known)


def inner(words: Sequence[Word], known: Known) -> Invocation | None:
    """The command that sudo, xargs, env and their like are given; None where they are given none."""
    place = 0
    while place < len(words):
        word = words[place]
        if word.text == "--":
            place += 1
            break
        if word.text.startswith("-") and len(word.text) > 1:
            place += 2 if _wants_more(word.text, known) else 1
        elif known.name in ("env", "sudo") and re.match(r"\w+=", word.text):
            place += 1
        else:
            break
    if known.name == "timeout":
        place += 1  # how long
    if known.name in ("bash", "sh", "zsh", "dash") or place >= len(words):
        return None
    first = words[place]
    return Invocation(first.text if first.fixed else "", tuple(words[place + 1 :]))


def _getopt(words: Sequence[Word], known: Known) -> str:
    valued, value_next = dict(known.letters), False
    if known.name == "tar" and words and words[0].fixed and not words[0].text.startswith("-"):
        words = [Word(f"-{words[0].text}"), *words[1:]]  # tar czf is tar -c -z -f
        return next((f"-{c}" for c in words[0].text[1:] if c not in valued), "") or _getopt(
            words[1:], _no_bundle(known)
        )
    for word in words:
        text = word.text
        if value_next:
            value_next = False
        elif text == "--" or (known.style == "wraps" and not text.startswith("-")):
            return ""
        elif text.startswith("--"):
            if not _long(text[2:].partition("=")[0], known):
                return text if word.fixed else ""
        elif text.startswith("-") and len(text) > 1:
            if word.fixed and (bad := _cluster(text[1:], valued)):
                return f"-{bad}"
            value_next = _wants_more(text, known)
    return ""


def _no_bundle(known: Known) -> Known:
    """The same command once its first bundle of letters is read."""
    return Known(f"{known.name} ", known.style, known.letters, known.names)


def _cluster(letters: str, valued: dict[str, bool]) -> str:
    """The first letter of -abc that is no option; what follows a letter with a value is the value."""
    for letter in letters:
        if letter not in valued:
            return letter
        if valued[letter]:
            return ""
    return ""


def _wants_more(text: str, known: Known) -> bool:
    """Whether the next word is the value of the last letter of this one."""
    valued = dict(known.letters)
    if text.startswith("--"):
        return False
    for place, letter in enumerate(text[1:]):
        if valued.get(letter):
            return place == len(text) - 2
    return False


def _long(name: str, known: Known) -> bool:
    """GNU takes any beginning of a long name that begins one alone."""
    names = {*known.names, *ALWAYS}
    return name in names or len([n for n in names if name and n.startswith(name)]) == 1


def _dashed(words: Sequence[Word], known: Known) -> str:
    """find, kill: whole words behind dashes; a number is a value. What -exec runs is not find's."""
    skipping = False
    for word in words:
        text = word.text
        if skipping:
            skipping = text not in (";", "\\;", "+")
        elif text in ("-exec", "-execdir", "-ok", "-okdir"):
            skipping = True
        elif word.fixed and not word.quoted and re.match(r"--?[A-Za-z0-9]", text):
            name = text.lstrip("-")
            numeral = name.rstrip("cwbkMG").isdigit() and known.name == "find"
            if name not in known.names and not numeral and name not in ALWAYS:
                return text
    return ""


def _parameters(words: Sequence[Word], known: Known) -> str:
    """PowerShell takes any beginning of a parameter's name that begins one alone, in any case."""
    names = {name.lower() for name in known.names}
    common = {name.lower() for name in COMMON}
    for word in words:
        if re.match(r"--[A-Za-z]|/[A-Za-z](:|$)", word.text):  # the habits of GNU and of cmd
            return word.text
        if word.quoted or not re.match(r"-[A-Za-z]", word.text):
            continue
        name = word.text[1:].rstrip(":").lower()
        own = [n for n in names - common if n.startswith(name)]
        if name not in names and len(own or [n for n in common if n.startswith(name)]) != 1:
            return word.text
    return ""


def _switches(words: Sequence[Word], known: Known) -> str:
    """cmd: /s /b, also glued (/s/b); a starred one may carry text (/a:h). Words with a dash are none of most."""
    for word in words:
        text = word.text
        if word.quoted or not word.fixed:
            continue
        if text.startswith("/"):
            for part in filter(None, text.lower().split("/")):
                if part != "?" and not _is_switch(part, known.names):
                    return f"/{part}"
        elif re.match(r"-[A-Za-z]", text) and not (known.dash and _is_bundle(text[1:].lower(), known.names)):
            return text
    return ""


def _is_bundle(part: str, names: Sequence[str]) -> bool:
    """-n, or several letters in one: netstat -ano."""
    return _is_switch(part, names) or set(part) <= set(names)


def _is_switch(part: str, names: Sequence[str]) -> bool:
    name = part.partition(":")[0]
    return any(
        part == known or name == known.rstrip("*") or (known.endswith("*") and part.startswith(known.rstrip("*")))
        for known in names
    )


def _unchecked(words: Sequence[Word], known: Known) -> str:
    return ""


_READ: dict[Style, Callable[[Sequence[Word], Known], str]] = {
    "getopt": _getopt,
    "wraps": _getopt,
    "words": _dashed,
    "cmdlet": _parameters,
    "switch": _switches,
    "free": _unchecked,
}
