"""Families that change a class (SWE-smith: remove base, remove methods, shuffle methods; arXiv 2504.21798)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

from repodojo.tasks.mutate.spans import Edit, Mutant, Scope
from repodojo.tasks.mutate.structure import rows

Method = ast.FunctionDef | ast.AsyncFunctionDef


def removed_base(scope: Scope) -> Iterator[Mutant]:
    """A class loses one of its bases."""
    node = scope.node
    if not isinstance(node, ast.ClassDef):
        return
    for place, base in enumerate(node.bases):
        start, end = scope.text.span(base)
        if place + 1 < len(node.bases):
            end = scope.text.span(node.bases[place + 1])[0]
        elif place:
            start = scope.text.span(node.bases[place - 1])[1]
        elif node.keywords:
            continue  # what stands between a base and a keyword is not worth the trouble
        yield Mutant("removed-base", Edit(start, end, ""), f"without {scope.text.of(base)}")


def removed_method(scope: Scope) -> Iterator[Mutant]:
    """A class loses one of its methods."""
    for method in _methods(scope):
        if (span := rows(scope, [method])) is not None:
            indent = " " * method.col_offset
            alone = len(scope.node.body) == 1
            yield Mutant("removed-method", Edit(*span, f"{indent}pass\n" if alone else ""), f"without {method.name}")


def shuffled_methods(scope: Scope) -> Iterator[Mutant]:
    """Two neighbouring methods exchanged; tells where one is defined twice or is used while the class is made."""
    methods = _methods(scope)
    for first, second in pairwise(methods):
        one, two = rows(scope, [first]), rows(scope, [second])
        if one is not None and two is not None:
            source = scope.text.source
            new = source[slice(*two)] + source[one[1] : two[0]] + source[slice(*one)]
            yield Mutant("shuffled-methods", Edit(one[0], two[1], new), f"{second.name} before {first.name}")


def _methods(scope: Scope) -> list[Method]:
    return [node for node in scope.node.body if isinstance(node, Method)] if _is_class(scope) else []


def _is_class(scope: Scope) -> bool:
    return isinstance(scope.node, ast.ClassDef)
