"""What a command line invokes: one form for bash, PowerShell and cmd, read from tree-sitter's trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

Shell = Literal["bash", "powershell", "cmd"]
SHELLS: tuple[Shell, ...] = get_args(Shell)
LONGEST = 1 << 16  # bytes; what is longer counts as not parsed


@dataclass(frozen=True)
class Word:
    """One argument as it is written, outer quotes taken off. `fixed` is false where an expansion decides what it is."""

    text: str
    fixed: bool = True
    quoted: bool = False


@dataclass(frozen=True)
class Invocation:
    """A name and its arguments; the name is "" where only running tells it ($CMD)."""

    name: str
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Parsed:
    """`ok` says that the grammar has nothing to complain of; `defined` are names of functions that the text defines."""

    ok: bool
    invocations: tuple[Invocation, ...] = ()
    defined: frozenset[str] = frozenset()


def parse(text: str, shell: Shell) -> Parsed:
    """The invocations of a command line in order, those within substitutions and blocks too.

    >>> [i.name for i in parse("find . | xargs wc -l", "bash").invocations]
    ['find', 'xargs']
    >>> parse('echo "open', "bash").ok
    False
    """
    from repodojo.rewards.commands import bash, cmd, powershell  # which are made of what stands here

    read: dict[Shell, Callable[[Node], Iterator[Invocation | str]]] = {
        "bash": bash.read,
        "powershell": powershell.read,
        "cmd": cmd.read,
    }
    rewritten = {"bash": bash.as_the_grammar_has_it, "powershell": powershell.as_the_grammar_has_it}
    text = rewritten.get(shell, cmd.as_in_a_file)(text)
    data = text.encode("utf-8", "replace")
    if not text.strip() or len(data) > LONGEST or b"\0" in data:
        return Parsed(False)
    root = _parser(shell).parse(data).root_node
    found = list(read[shell](root))
    invoked = tuple(item for item in found if isinstance(item, Invocation))
    closed = shell != "cmd" or text.replace('^"', "").count('"') % 2 == 0  # cmd lets one pass, and means something else
    return Parsed(closed and not root.has_error, invoked, frozenset(item for item in found if isinstance(item, str)))


@cache
def _parser(shell: Shell) -> Parser:
    """Grammars: tree-sitter-bash, tree-sitter-powershell (airbus-cert), tree-sitter-batch (wharflab)."""
    import tree_sitter
    import tree_sitter_bash
    import tree_sitter_batch
    import tree_sitter_powershell

    grammars = {"bash": tree_sitter_bash, "powershell": tree_sitter_powershell, "cmd": tree_sitter_batch}
    return tree_sitter.Parser(tree_sitter.Language(grammars[shell].language()))


def nodes(root: Node) -> Iterator[Node]:
    """Every node in the order of the text, without recursion: nesting is what an agent writes."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def text_of(node: Node) -> str:
    """The node's own text."""
    return (node.text or b"").decode("utf-8", "replace")


def unquoted(text: str) -> tuple[str, bool]:
    """Without a pair of outer quotes, and whether there was one."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1], True
    return text, False
