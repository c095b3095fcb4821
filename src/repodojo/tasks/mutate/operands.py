"""Families that change what an operator works on (SWE-smith: break chains, swap operands; arXiv 2504.21798)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from repodojo.tasks.mutate.expressions import LOOSE
from repodojo.tasks.mutate.spans import Edit, Mutant, Scope


def broken_chain(scope: Scope) -> Iterator[Mutant]:
    """`a + b + c` to `a + c`, `a < b < c` to `a < b`, `a and b and c` without one of them."""
    text = scope.text
    for node in scope.nodes():
        if isinstance(node, ast.BinOp) and isinstance(node.left, ast.BinOp):
            inner = node.left
            yield _without(scope, inner, text.of(inner.left), "the middle operand")
            yield _without(scope, inner, text.of(inner.right), "the first operand")
        elif isinstance(node, ast.Compare) and len(node.comparators) > 1:
            cut = (text.span(node.comparators[-2])[1], text.span(node.comparators[-1])[1])
            yield Mutant("broken-chain", Edit(*cut, ""), "the last comparison dropped")
        elif isinstance(node, ast.BoolOp) and len(node.values) > 2:
            for left, right in zip(node.values, node.values[1:], strict=False):
                cut = (text.span(left)[1], text.span(right)[1])
                yield Mutant("broken-chain", Edit(*cut, ""), "a condition dropped")


def _without(scope: Scope, inner: ast.BinOp, kept: str, what: str) -> Mutant:
    return Mutant("broken-chain", Edit(*scope.text.span(inner), kept), f"{what} dropped")


def swapped_operands(scope: Scope) -> Iterator[Mutant]:
    """`a - b` to `b - a`, `a < b` to `b < a`; where the order tells nothing no test will catch it."""
    text = scope.text
    for node in scope.nodes():
        if isinstance(node, ast.BinOp):
            left, right = node.left, node.right
        elif isinstance(node, ast.Compare) and len(node.comparators) == 1:
            left, right = node.left, node.comparators[0]
        else:
            continue
        (start, middle), (after, end) = text.span(left), text.span(right)
        new = _safe(scope, right) + text.source[middle:after] + _safe(scope, left)
        yield Mutant("swapped-operands", Edit(start, end, new), "operands exchanged")


def _safe(scope: Scope, node: ast.expr) -> str:
    """An operand's text, in brackets where it could bind otherwise."""
    loose = isinstance(node, (*LOOSE, ast.BinOp, ast.Compare, ast.UnaryOp, ast.Starred))
    return f"({scope.text.of(node)})" if loose else scope.text.of(node)
