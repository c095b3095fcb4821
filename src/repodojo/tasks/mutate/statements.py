"""The family that takes a statement away."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from repodojo.tasks.mutate.spans import Edit, Mutant, Scope

REMOVABLE = (ast.Assign, ast.AugAssign, ast.Expr, ast.If, ast.Return, ast.Raise, ast.Break, ast.Continue, ast.Delete)


def removed_statement(scope: Scope) -> Iterator[Mutant]:
    """A statement that fills its lines disappears; the only one of a block becomes `pass`."""
    yield from _block(scope, scope.body)
    for node in scope.nodes():
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and not isinstance(node, ast.ClassDef):
                yield from _block(scope, block)


def _block(scope: Scope, block: Sequence[ast.stmt]) -> Iterator[Mutant]:
    text = scope.text
    for node in block:
        if not isinstance(node, REMOVABLE) or (isinstance(node, ast.If) and node.orelse):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        start, end = text.span(node)
        assert node.end_lineno is not None
        first, after = text.starts[node.lineno - 1], text.starts[node.end_lineno]
        alone = not text.source[first:start].strip() and not text.source[end:after].strip()
        if not alone or text.source[first:].startswith("elif"):
            continue
        if len(block) == 1:
            yield Mutant("removed-statement", Edit(start, end, "pass"), "statement became pass")
        else:
            yield Mutant("removed-statement", Edit(first, after, ""), "statement removed")
