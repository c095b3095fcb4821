"""Invocations of cmd.exe from the tree of tree-sitter-batch, a grammar of batch files.

A prompt differs from a file in one thing: a loop's variable is `%f` there and `%%f` in a file. It is doubled first; two
forms of `set` that the grammar does not know are written so that it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from repodojo.rewards.commands.syntax import Invocation, Word, nodes, text_of, unquoted

if TYPE_CHECKING:
    from tree_sitter import Node

_LOOP_VARIABLE = re.compile(r"(?<!%)%((?:~[a-z$]*)?[A-Za-z])(?![^\s%]*%)")
_BARE_SET = re.compile(r"(?im)(^|[&|(@])(\s*)set(?=\s*(?:$|[&|)]))")  # prints all variables; the grammar wants a name
_SET_AND = re.compile(r'(?i)\bset\s+(\w+=[^&|"\n]*?)\s*(?=&)')  # the grammar takes what follows for the value
_STATEMENTS = {
    "variable_assignment": "set",
    "for_stmt": "for",
    "if_stmt": "if",
    "goto_stmt": "goto",
    "exit_stmt": "exit",
    "setlocal_stmt": "setlocal",
    "endlocal_stmt": "endlocal",
    "echo_off": "echo",
    "comment": "rem",
}


def as_in_a_file(text: str) -> str:
    """The line as a batch file would hold it; its last line ended.

    >>> as_in_a_file('for %f in (*.txt) do echo %~nf')
    'for %%f in (*.txt) do echo %%~nf\\n'
    """
    if re.search(r"(?i)\bfor\b", text):
        text = _LOOP_VARIABLE.sub(r"%%\1", text)
    text = _SET_AND.sub(r'set "\1" ', text)
    return _BARE_SET.sub(r"\1\2set.exe", text) + "\n" if text.strip() else ""


def read(root: Node) -> Iterator[Invocation | str]:
    """Each invocation; labels define nothing that could be called as a command."""
    for node in nodes(root):
        if node.type == "cmd":
            names = [child for child in node.named_children if child.type == "command_name"]
            name = text_of(names[0]) if names else ""
            yield Invocation("" if "%" in name else unquoted(name)[0], tuple(_words(node)))
        elif node.type in _STATEMENTS:
            yield Invocation(_STATEMENTS[node.type], tuple(_switches(node)))
        elif node.type == "call_stmt":
            names = [child for child in node.named_children if child.type == "command_name"]
            yield Invocation("call", tuple(Word(text_of(name)) for name in names))


def _words(command: Node) -> Iterator[Word]:
    for arguments in command.named_children:
        if arguments.type == "argument_list":
            for node in arguments.named_children:
                fixed = not any(part.type == "variable_reference" for part in nodes(node))
                yield Word(*_unquoted(node, fixed))


def _unquoted(node: Node, fixed: bool) -> tuple[str, bool, bool]:
    text, quoted = unquoted(text_of(node))
    return text, fixed, quoted


def _switches(statement: Node) -> Iterator[Word]:
    """Of `for` and `set`: their options alone; what follows are no words of theirs to check."""
    for node in statement.named_children:
        kinds = ("for_options", "set_option")
        found = [part for part in nodes(node) if part.type in kinds] if node.type != "cmd" else []
        for part in found:
            yield Word(text_of(part).split()[0])
