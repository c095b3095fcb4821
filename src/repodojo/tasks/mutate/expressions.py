"""Families that change an operator, a condition or a call inside an expression."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from repodojo.tasks.mutate.spans import Edit, Mutant, Scope

COMPARISONS: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">")),
    ast.LtE: ("<=", ("<", ">=")),
    ast.Gt: (">", (">=", "<")),
    ast.GtE: (">=", (">", "<=")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
}
ARITHMETIC: dict[type[ast.operator], tuple[str, tuple[str, ...]]] = {
    ast.Add: ("+", ("-",)),
    ast.Sub: ("-", ("+",)),
    ast.Mult: ("*", ("+", "//")),
    ast.Div: ("/", ("*", "//")),
    ast.FloorDiv: ("//", ("*", "/")),
    ast.Mod: ("%", ("//",)),
    ast.Pow: ("**", ("*",)),
    ast.BitAnd: ("&", ("|",)),
    ast.BitOr: ("|", ("&",)),
    ast.BitXor: ("^", ("|",)),
    ast.LShift: ("<<", (">>",)),
    ast.RShift: (">>", ("<<",)),
}
LOOSE = (ast.BoolOp, ast.IfExp, ast.Lambda, ast.NamedExpr, ast.Tuple, ast.Yield, ast.YieldFrom, ast.Await)
"""Expressions that need brackets before `not` may stand in front of them."""


def comparison(scope: Scope) -> Iterator[Mutant]:
    """`a < b` to `a <= b`, `x in y` to `x not in y`, and so on; each operator of a chain on its own."""
    for node in scope.nodes():
        if isinstance(node, ast.Compare):
            for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                old, others = COMPARISONS[type(operator)]
                if place := scope.text.between(left, right, old):
                    for new in others:
                        yield Mutant("comparison", Edit(*place, new), f"{old} to {new}")


def arithmetic(scope: Scope) -> Iterator[Mutant]:
    """`a + b` to `a - b`, `x += 1` to `x -= 1`, a minus sign dropped."""
    for node in scope.nodes():
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            left, right, suffix = node.left, node.right, ""
        elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
            left, right, suffix = node.target, node.value, "="
        else:
            if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
                start, end = scope.text.span(node)[0], scope.text.span(node.operand)[0]
                if end - start == 1:
                    yield Mutant("arithmetic", Edit(start, end, ""), "minus sign dropped")
            continue
        old, others = ARITHMETIC[type(node.op)]
        if place := scope.text.between(left, right, old + suffix):
            for new in others:
                yield Mutant("arithmetic", Edit(*place, new + suffix), f"{old}{suffix} to {new}{suffix}")


def boolean(scope: Scope) -> Iterator[Mutant]:
    """`and` to `or` and back, `not x` to `x`, True to False, `any` to `all`."""
    for node in scope.nodes():
        if isinstance(node, ast.BoolOp):
            old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:], strict=False):
                if place := scope.text.between(left, right, old):
                    yield Mutant("boolean", Edit(*place, new), f"{old} to {new}")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            start, end = scope.text.span(node)[0], scope.text.span(node.operand)[0]
            if scope.text.source[start:end].strip() == "not":
                yield Mutant("boolean", Edit(start, end, ""), "not dropped")
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield Mutant("boolean", Edit(*scope.text.span(node), str(not node.value)), f"{node.value} flipped")
        elif isinstance(node, ast.Name) and node.id in ("any", "all") and isinstance(node.ctx, ast.Load):
            new = "all" if node.id == "any" else "any"
            yield Mutant("boolean", Edit(*scope.text.span(node), new), f"{node.id} to {new}")


def inverted_condition(scope: Scope) -> Iterator[Mutant]:
    """`if x:` to `if not x:`, also in `while`, conditional expressions and comprehensions."""
    for node in scope.nodes():
        tests: list[ast.expr] = []
        if isinstance(node, ast.If | ast.While | ast.IfExp):
            tests = [node.test]
        elif isinstance(node, ast.comprehension):
            tests = list(node.ifs)
        for test in tests:
            if isinstance(test, ast.Constant):
                continue
            start, end = scope.text.span(test)
            old = scope.text.source[start:end]
            if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
                new = scope.text.of(test.operand)
            else:
                new = f"not ({old})" if isinstance(test, LOOSE) or "\n" in old else f"not {old}"
            yield Mutant("inverted-condition", Edit(start, end, new), "condition inverted")


def swapped_arguments(scope: Scope) -> Iterator[Mutant]:
    """`f(a, b)` to `f(b, a)` for neighbouring positional arguments."""
    for node in scope.nodes():
        if not isinstance(node, ast.Call):
            continue
        for left, right in zip(node.args, node.args[1:], strict=False):
            if isinstance(left, ast.Starred | ast.GeneratorExp) or isinstance(right, ast.Starred | ast.GeneratorExp):
                continue
            (start, middle), (after, end) = scope.text.span(left), scope.text.span(right)
            new = scope.text.of(right) + scope.text.source[middle:after] + scope.text.of(left)
            yield Mutant("swapped-arguments", Edit(start, end, new), "arguments swapped")
