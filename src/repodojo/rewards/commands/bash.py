"""Invocations of bash from the tree of tree-sitter-bash."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from repodojo.rewards.commands.syntax import Invocation, Word, nodes, text_of, unquoted

if TYPE_CHECKING:
    from tree_sitter import Node

_DECIDED_LATER = {
    "simple_expansion",
    "expansion",
    "command_substitution",
    "process_substitution",
    "arithmetic_expansion",
}
_NO_ARGUMENT = {"file_redirect", "heredoc_redirect", "herestring_redirect", "variable_assignment", "command_name"}
_BEYOND = re.compile("[^\x00-\xff]")
_KEYWORDS = {"declaration_command", "unset_command"}  # export, declare, unset and their like have nodes of their own


def as_the_grammar_has_it(text: str) -> str:
    """The text with another letter for each character beyond Latin-1, all of which are letters of a word to bash.

    The scanner of tree-sitter-bash 0.25 looks such a character up in C's table of 256, and dies far beyond it.

    >>> as_the_grammar_has_it("ls \U0001f600")
    'ls \xe9'
    """
    return _BEYOND.sub("\xe9", text)


def read(root: Node) -> Iterator[Invocation | str]:
    """Each invocation, and the name of each function defined."""
    for node in nodes(root):
        if node.type == "command":
            name = node.child_by_field_name("name")
            yield Invocation(_name(name), tuple(_words(node)))
        elif node.type in _KEYWORDS:
            yield Invocation(text_of(node.children[0]), tuple(_words(node)))
        elif node.type == "function_definition":
            yield text_of(node.child_by_field_name("name") or node)


def _name(node: Node | None) -> str:
    if node is None:
        return ""
    word = _word(node)
    return word.text.removeprefix("\\") if word.fixed else ""


def _words(command: Node) -> Iterator[Word]:
    for child in command.named_children:
        if child.type not in _NO_ARGUMENT:
            yield _word(child)


def _word(node: Node) -> Word:
    fixed = not any(part.type in _DECIDED_LATER for part in nodes(node))
    text, quoted = unquoted(text_of(node))
    return Word(text, fixed, quoted)
