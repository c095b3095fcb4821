"""Invocations of PowerShell from the tree of tree-sitter-powershell.

An expression that calls no command (`$env:PATH`, `[Math]::Sqrt(2)`) is a whole command line of its own, so no
invocation does not mean nothing was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from repodojo.rewards.commands.syntax import Invocation, Word, nodes, text_of, unquoted

if TYPE_CHECKING:
    from tree_sitter import Node

_DECIDED_LATER = {"variable", "sub_expression", "parenthesized_expression", "script_block_expression"}

_PIECES = re.compile(
    r"""("(?:`.|""|[^"`])*"|'(?:''|[^'])*')|((?<=\s)--[A-Za-z][^\s'"|;&]*)|((?<=[\w*./\\-])\s*,\s*(?=[A-Za-z*./]))|(,)\s+|(\d)([KMGTP]B)\b"""
)


def as_the_grammar_has_it(text: str) -> str:
    """The text without what PowerShell allows and tree-sitter-powershell does not know.

    That is numbers like 1MB in capitals, lists of bare words (made one word), blanks behind other commas of arguments,
    and words that begin with two dashes (quoted).

    >>> as_the_grammar_has_it("tar --exclude=a b, c, 'd, 1MB', 1MB")
    "tar '--exclude=a' b_c,'d, 1MB',1mb"
    """

    def known(piece: re.Match[str]) -> str:
        string, dashes, bare, comma, digit, unit = piece.groups()
        return string or (dashes and f"'{dashes}'") or (bare and "_") or comma or digit + unit.lower()

    return _PIECES.sub(known, text)


def read(root: Node) -> Iterator[Invocation | str]:
    """Each invocation, and the name of each function defined."""
    for node in nodes(root):
        if node.type == "command":
            yield Invocation(_name(node), tuple(_words(node)))
        elif node.type == "function_statement":
            yield from (text_of(child) for child in node.children if child.type == "function_name")


def _name(command: Node) -> str:
    """Literal names only; `& $tool` is known to nobody before it runs."""
    for child in command.named_children:
        if child.type in ("command_name", "path_command_name"):
            return text_of(child)
        if child.type == "command_name_expr":
            fixed = not any(part.type in _DECIDED_LATER for part in nodes(child))
            return unquoted(text_of(child))[0] if fixed else ""
    return ""


def _words(command: Node) -> Iterator[Word]:
    for elements in command.named_children:
        if elements.type != "command_elements":
            continue
        for node in elements.named_children:
            if node.type == "command_parameter":
                yield Word(text_of(node))
            elif node.type not in ("command_argument_sep", "redirection"):
                text, quoted = unquoted(text_of(node))
                fixed = not any(part.type in _DECIDED_LATER for part in nodes(node))
                # what is no command_parameter is a value, though it begin with a dash
                yield Word(text, fixed, quoted or text.startswith("-"))
