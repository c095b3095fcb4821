"""A checked call as a line of Python that a person can put into a test."""

from __future__ import annotations

import ast
from typing import Any

_BRACKETS = {"l": ("[", "]"), "S": ("{", "}"), "t": ("(", ")")}
LONGEST = 160


def as_example(name: str, call: Any, answer: Any) -> str:
    """`assert name(arguments) == answer`; "" where that takes more than literals, or a line of more than LONGEST.

    >>> as_example("add", [["l", [["i", 1], ["i", 2]]], ["d", []]], ["value", ["i", 3]])
    'assert add(1, 2) == 3'
    """
    if "." in name or answer[0] != "value":
        return ""
    try:
        given = [literal(tree) for tree in call[0][1]]
        given += [f"{ast.literal_eval(literal(key))}={literal(value)}" for key, value in call[1][1]]
        wanted, left = literal(answer[1]), f"{name}({', '.join(given)})"
    except ValueError:
        return ""
    left = f"list({left})" if answer[1][0] == "I" else left
    line = f"assert {left} == {wanted}"
    return line if len(line) <= LONGEST else ""


def literal(tree: Any) -> str:
    """The source of a plain tree of `boxvalues`; ValueError where it is none."""
    kind: str = tree[0]
    value: Any = tree[1] if len(tree) > 1 else None
    if kind == "n":
        return "None"
    if kind in ("i", "b", "s"):
        return str(int(value, 16)) if kind == "i" and isinstance(value, str) else repr(value)
    if kind == "f" and value not in ("nan", "inf", "-inf"):
        return str(value)
    if kind == "y" and tree[2] == "bytes":
        return repr(bytes.fromhex(value))
    if kind == "d":
        return "{" + ", ".join(f"{literal(key)}: {literal(held)}" for key, held in value) + "}"
    if kind == "I":
        return f"[{', '.join(map(literal, value))}]"
    if kind in _BRACKETS and (value or kind != "S"):
        start, end = _BRACKETS[kind]
        comma = "," if kind == "t" and len(value) == 1 else ""
        return f"{start}{', '.join(map(literal, value))}{comma}{end}"
    raise ValueError(f"no literal for {kind!r}")
