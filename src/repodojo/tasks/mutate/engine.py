"""All families together: each mutant parses, differs, stays inside the function's body, and comes once."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator, Sequence

from repodojo.tasks.discover import FunctionInfo
from repodojo.tasks.mutate import classes, expressions, operands, statements, structure, values
from repodojo.tasks.mutate.spans import Mutant, Scope

FAMILIES: dict[str, Callable[[Scope], Iterator[Mutant]]] = {
    "comparison": expressions.comparison,
    "arithmetic": expressions.arithmetic,
    "boolean": expressions.boolean,
    "constant": values.constant,
    "off-by-one": values.off_by_one,
    "wrong-variable": values.wrong_variable,
    "swapped-arguments": expressions.swapped_arguments,
    "removed-statement": statements.removed_statement,
    "inverted-condition": expressions.inverted_condition,
}
KINDS = tuple(FAMILIES)
"""The spine's own kinds, which are tried where none are named."""
FAMILIES |= {
    "broken-chain": operands.broken_chain,
    "swapped-operands": operands.swapped_operands,
    "inverted-branches": structure.inverted_branches,
    "shuffled-lines": structure.shuffled_lines,
    "removed-assignment": structure.removed_assignment,
    "removed-conditional": structure.removed_conditional,
    "removed-loop": structure.removed_loop,
    "removed-wrapper": structure.removed_wrapper,
}
OF_CLASSES: dict[str, Callable[[Scope], Iterator[Mutant]]] = {
    "removed-base": classes.removed_base,
    "removed-method": classes.removed_method,
    "shuffled-methods": classes.shuffled_methods,
}
ALL_KINDS = (*FAMILIES, *OF_CLASSES)
"""With the rest of SWE-smith's thirteen (its change of constants is `constant`, of operators `arithmetic`,
`comparison` and `boolean`)."""
PER_KIND = 12
"""Mutants of one kind that a function gives at most; a long one would give thousands of wrong variables."""


def mutants(
    source: str,
    function: FunctionInfo,
    rng: random.Random,
    kinds: Sequence[str] = KINDS,
    per_kind: int = PER_KIND,
) -> list[Mutant]:
    """Mutants of a function or class of `source`, at most `per_kind` a kind, kinds taking turns, drawn from `rng`.

    Two that give the same syntax tree are one; the rarer family keeps it, so that common ones do not swallow it.
    """
    scope = Scope(function.text, function.node, function.body)
    families = OF_CLASSES if isinstance(function.node, ast.ClassDef) else FAMILIES
    found = {kind: list(families[kind](scope)) for kind in kinds if kind in families}
    seen = {_tree(source, function, None)}
    kept: dict[str, list[Mutant]] = {}
    for kind in sorted(found, key=lambda k: len(found[k])):
        rng.shuffle(found[kind])
        kept[kind] = []
        for mutant in found[kind]:
            if len(kept[kind]) == per_kind:
                break
            tree = _tree(source, function, mutant)
            if tree and tree not in seen:
                seen.add(tree)
                kept[kind].append(mutant)
    order = list(kept)
    rng.shuffle(order)
    turns = max((len(many) for many in kept.values()), default=0)
    return [kept[kind][turn] for turn in range(turns) for kind in order if turn < len(kept[kind])]


def _tree(source: str, function: FunctionInfo, mutant: Mutant | None) -> str:
    """The function's syntax tree with the mutant in it, "" where it does not parse or leaves the function's body."""
    start, end = function.span
    if mutant is None:
        text = source[start:end]
    else:
        edit = mutant.edit
        first, last = (start, end) if isinstance(function.node, ast.ClassDef) else function.body_span
        if not first <= edit.start <= edit.end <= max(last, function.body_span[1]):
            return ""
        text = source[start : edit.start] + edit.text + source[edit.end : max(end, edit.end)]
    column = start - (source.rfind("\n", 0, start) + 1)
    try:
        tree = ast.parse(f"if 1:\n{' ' * column}{text}" if column else text)
    except SyntaxError:
        return ""
    return ast.dump(tree) if len(tree.body) == 1 else ""
