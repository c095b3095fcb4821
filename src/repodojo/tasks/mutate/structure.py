"""Families that change a function's flow: branches, the order of lines, and what is removed or unwrapped.

After SWE-smith's procedural kinds (arXiv 2504.21798), by their names there: invert if/else, shuffle lines, remove
assignment, conditional, loop and wrapper. Where SWE-smith draws at random, every place is a mutant of its own here.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise

from repodojo.tasks.mutate.spans import Edit, Mutant, Scope

SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.If, ast.For, ast.While, ast.With, ast.Delete)
ASSIGNS = (ast.Assign, ast.AugAssign, ast.AnnAssign)
LOOPS = (ast.For, ast.AsyncFor, ast.While)


def inverted_branches(scope: Scope) -> Iterator[Mutant]:
    """What `if` does and what `else` does change places."""
    for node in scope.nodes():
        if not isinstance(node, ast.If) or not node.orelse:
            continue
        first, second = rows(scope, node.body), rows(scope, node.orelse)
        if first is None or second is None or scope.text.of(node.orelse[0]).startswith("elif"):
            continue
        source = scope.text.source
        new = source[slice(*second)] + source[first[1] : second[0]] + source[slice(*first)]
        yield Mutant("inverted-branches", Edit(first[0], second[1], new), "if and else exchanged")


def shuffled_lines(scope: Scope) -> Iterator[Mutant]:
    """Two neighbouring statements exchanged, or all statements of a block the other way round."""
    for block in blocks(scope):
        for first, second in pairwise(block):
            if isinstance(first, SIMPLE) and isinstance(second, SIMPLE):
                yield from _ordered(scope, [first, second], "two lines exchanged")
        if len(block) > 2 and all(isinstance(node, SIMPLE) for node in block[:-1]):
            whole = block if isinstance(block[-1], SIMPLE) else block[:-1]
            if len(whole) > 2:
                yield from _ordered(scope, whole, "lines turned round")


def _ordered(scope: Scope, block: Sequence[ast.stmt], what: str) -> Iterator[Mutant]:
    """The block backwards, what stands between its statements left where it is."""
    spans = [rows(scope, [node]) for node in block]
    kept = [span for span in spans if span is not None]
    if len(kept) < len(spans):
        return
    source, parts = scope.text.source, list[str]()
    for number, span in enumerate(kept):
        parts.append(source[slice(*kept[len(kept) - 1 - number])])
        if number + 1 < len(kept):
            parts.append(source[span[1] : kept[number + 1][0]])
    yield Mutant("shuffled-lines", Edit(kept[0][0], kept[-1][1], "".join(parts)), what)


def removed_assignment(scope: Scope) -> Iterator[Mutant]:
    """A value is not kept."""
    yield from _removed(scope, ASSIGNS, "removed-assignment")


def removed_conditional(scope: Scope) -> Iterator[Mutant]:
    """A whole `if` with all its branches disappears."""
    yield from _removed(scope, (ast.If,), "removed-conditional")


def removed_loop(scope: Scope) -> Iterator[Mutant]:
    """A whole loop disappears."""
    yield from _removed(scope, LOOPS, "removed-loop")


def _removed(scope: Scope, kinds: tuple[type[ast.stmt], ...], name: str) -> Iterator[Mutant]:
    for block in blocks(scope):
        for node in block:
            span = rows(scope, [node])
            if not isinstance(node, kinds) or span is None or scope.text.of(node).startswith("elif"):
                continue
            indent = " " * (scope.text.span(node)[0] - span[0])
            yield Mutant(name, Edit(*span, f"{indent}pass\n" if len(block) == 1 else ""), "removed")


def removed_wrapper(scope: Scope) -> Iterator[Mutant]:
    """What `with` or `try` holds stands alone; handlers, `else` and `finally` are gone."""
    for block in blocks(scope):
        for node in block:
            if not isinstance(node, ast.With | ast.AsyncWith | ast.Try):
                continue
            outer, inner = rows(scope, [node]), rows(scope, node.body)
            if outer is None or inner is None:
                continue
            indent = scope.text.source[outer[0] : scope.text.span(node)[0]]
            text = textwrap.indent(textwrap.dedent(scope.text.source[slice(*inner)]), indent)
            yield Mutant("removed-wrapper", Edit(*outer, text), "unwrapped")


def blocks(scope: Scope) -> Iterator[Sequence[ast.stmt]]:
    """The body, and every block inside it."""
    yield scope.body
    for node in scope.nodes():
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and not isinstance(node, ast.ClassDef):
                yield block


def rows(scope: Scope, block: Sequence[ast.stmt]) -> tuple[int, int] | None:
    """The whole lines of neighbouring statements, decorators included; None where they share a line with others."""
    text, first, last = scope.text, block[0], block[-1]
    assert last.end_lineno is not None
    decorators = getattr(first, "decorator_list", [])
    line = min([first.lineno, *(d.lineno for d in decorators)])
    start, after = text.starts[line - 1], text.starts[last.end_lineno]
    head = text.source[start : text.span(decorators[0])[0] - 1 if decorators else text.span(first)[0]]
    alone = not head.strip() and not text.source[text.span(last)[1] : after].strip()
    return (start, after) if alone and text.source[start:after].endswith("\n") else None
