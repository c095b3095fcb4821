"""Families that change a value: constants, bounds, names."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from repodojo.tasks.mutate.spans import Edit, Mutant, Scope


def constant(scope: Scope) -> Iterator[Mutant]:
    """Another number, an emptied or filled string, None for a value."""
    for node in scope.nodes():
        if not isinstance(node, ast.Constant) or isinstance(node.value, bool | type(Ellipsis)):
            continue
        new: list[str] = []
        match node.value:
            case int(n):
                new = ["1" if n == 0 else "0", str(2 * n) if n > 1 else "2"]
            case float(x):
                new = [repr(2 * x), repr(x + 1.0)]
            case str(s) if scope.text.of(node)[-3:] not in ('"""', "'''"):
                new = ["''" if s else "' '"]
            case None:
                new = ["0"]
        for text in new:
            yield Mutant("constant", Edit(*scope.text.span(node), text), f"{node.value!r} to {text}")


def off_by_one(scope: Scope) -> Iterator[Mutant]:
    """A number, a bound of a slice, a length or an end of a range moved by one."""
    for node in scope.nodes():
        if isinstance(node, ast.Constant) and type(node.value) is int:
            for new in (node.value + 1, node.value - 1):
                if new >= 0:
                    yield Mutant("off-by-one", Edit(*scope.text.span(node), str(new)), f"{node.value} to {new}")
        elif isinstance(node, ast.Slice):
            for bound in (node.lower, node.upper):
                if isinstance(bound, ast.Name | ast.Call | ast.Attribute):
                    yield from _moved(scope, bound)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "len":
                yield from _moved(scope, node)
            elif node.func.id in ("range", "islice") and node.args:
                for argument in node.args:
                    if isinstance(argument, ast.Name | ast.Attribute):
                        yield from _moved(scope, argument)


def _moved(scope: Scope, node: ast.expr) -> Iterator[Mutant]:
    start, end = scope.text.span(node)
    old = scope.text.source[start:end]
    for sign in "-+":
        yield Mutant("off-by-one", Edit(start, end, f"{old} {sign} 1"), f"{old} {sign} 1")


def wrong_variable(scope: Scope) -> Iterator[Mutant]:
    """A name read where another parameter or local was meant."""
    names = scope.names
    for node in scope.nodes():
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
            for other in names:
                if other != node.id:
                    yield Mutant("wrong-variable", Edit(*scope.text.span(node), other), f"{node.id} to {other}")
