"""Which calls only look: those of one turn may run at the same time, all others are ordered."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

LOOKING = {"search", "definition", "references", "outline", "neighbours", "wiki", "rest"}
_WORDS = {
    *(
        "cat",
        "head",
        "tail",
        "ls",
        "pwd",
        "wc",
        "grep",
        "egrep",
        "fgrep",
        "rg",
        "stat",
        "du",
        "diff",
        "cmp",
        "nl",
        "cut",
    ),
    *(
        "echo",
        "printf",
        "basename",
        "dirname",
        "true",
        "false",
        "tree",
        "which",
        "tr",
        "column",
        "tac",
        "rev",
        "realpath",
    ),
}
_GIT = {"log", "show", "diff", "status", "blame", "ls-files", "grep", "rev-parse", "shortlog", "describe"}
_FIND_ACTS = re.compile(r"-(exec|ok|delete|fprint|fls)")
_JOINTS = {"|", "||", "&&", ";"}


def only_looks(tool: str, arguments: Mapping[str, Any], visible_command: str = "") -> bool:
    """Whether a call changes nothing, as far as can be told; what cannot be told is taken for a change.

    >>> only_looks("editor", {"command": "view", "path": "a.py"}), only_looks("bash", {"command": "rm a.py"})
    (True, False)
    """
    if tool == "editor":
        return arguments.get("command") == "view" and bool(arguments.get("path"))  # else it means the last one's file
    if tool == "bash":
        command = str(arguments.get("command", ""))
        return command.strip() != visible_command and looking_command(command)
    return tool in LOOKING


def looking_command(command: str) -> bool:
    """Whether a shell command is made of programs that only read, joined by pipes and the like, nothing redirected.

    >>> looking_command("grep -n x a.py | head -3"), looking_command("cat a > b"), looking_command("find . -delete")
    (True, False, False)
    """
    if any(mark in command for mark in ("$", "`", "\\", "\n", "\r", "\0", "#")):
        return False  # a value, a command or a line more may hide there
    try:
        lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = ""
        words = list(lexer)
    except ValueError:
        return False
    parts: list[list[str]] = [[]]
    for word in words:
        if word and set(word) <= set("();<>|&"):
            if word not in _JOINTS:
                return False
            parts.append([])
        else:
            parts[-1].append(word)
    return all(_reads(part) for part in parts)


def _reads(words: Sequence[str]) -> bool:
    if not words:
        return False
    program, *rest = words
    if program == "git":
        return (
            bool(rest)
            and rest[0] in _GIT
            and not any(word.startswith(("--ou", "--op", "-O", "--ext")) for word in rest)  # options may be cut short
        )
    if program == "find":
        return not any(_FIND_ACTS.match(word) for word in rest)
    if program == "sed":
        script = rest[1] if len(rest) > 1 else ""
        return rest[:1] == ["-n"] and bool(re.fullmatch(r"[\d,]+p", script)) and not any(r[:1] == "-" for r in rest[2:])
    if program in ("rg", "tree"):
        return not any(word.startswith(("--pre", "-o")) for word in rest)
    return program in _WORDS
