"""Local names of functions, and every place where each stands: what a rename has to reach, in several languages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from repodojo.agent.graph.grammars import grammar

FUNCTIONS: Mapping[str, frozenset[str]] = {
    "python": frozenset({"function_definition"}),
    "javascript": frozenset({"function_declaration", "method_definition"}),
    "c": frozenset({"function_definition"}),
}
"""What a function is called in each language's grammar: the languages that renames are made in."""
BINDS: Mapping[str, frozenset[tuple[str, str]]] = {
    "python": frozenset(
        {
            ("parameters", ""), ("typed_parameter", ""), ("default_parameter", "name"),
            ("typed_default_parameter", "name"), ("assignment", "left"), ("for_statement", "left"),
        }
    ),
    "javascript": frozenset(
        {("formal_parameters", ""), ("assignment_pattern", "left"), ("variable_declarator", "name")}
    ),
    "c": frozenset(
        {
            ("parameter_declaration", "declarator"), ("pointer_declarator", "declarator"),
            ("init_declarator", "declarator"), ("declaration", "declarator"),
        }
    ),
}  # fmt: skip
"""Parent and field ("": any) of an identifier that is a parameter or a variable's first value."""
ELSEWHERE: Mapping[str, frozenset[tuple[str, str]]] = {
    "python": frozenset({("attribute", "attribute"), ("keyword_argument", "name")}),
    "javascript": frozenset(),
    "c": frozenset({("goto_statement", "label"), ("labeled_statement", "label")}),
}
"""Identifiers that are no variables, so that a rename passes them by."""
IDENTIFIERS = frozenset({"identifier", "shorthand_property_identifier", "shorthand_property_identifier_pattern"})
FIXED = frozenset({"global_statement", "nonlocal_statement", *(IDENTIFIERS - {"identifier"})})
"""A name that stands here means something outside the function, too."""
KEPT = frozenset({"self", "cls", "this", "_"})


@dataclass(frozen=True)
class Name:
    """A local name: its places as (row, first byte, last byte) of the file, in order, rows counted from 0."""

    text: str
    places: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Body:
    """A function's rows [first, last), its local names, and all identifiers in it."""

    first: int
    last: int
    names: tuple[Name, ...]
    identifiers: frozenset[str]


def bodies(language: str, data: bytes) -> Iterator[Body]:
    """The outermost functions of a file; those that do not parse are passed over. `language`: one of FUNCTIONS."""
    waiting = [grammar(language).parser.parse(data).root_node]
    while waiting:
        node = waiting.pop()
        if node.type not in FUNCTIONS[language]:
            waiting += reversed(node.children)
        elif not node.has_error:
            yield _body(language, node)


def _body(language: str, function: Any) -> Body:
    places: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    bound, fixed = set[str](), set[str]()
    for node, parent, name in _identifiers(function):
        text = node.text.decode("utf-8", "replace")
        if parent.type in FIXED or node.type in FIXED:
            fixed.add(text)
        elif (parent.type, name) not in ELSEWHERE[language]:
            places[text].append((node.start_point[0], node.start_byte, node.end_byte))
            if {(parent.type, name), (parent.type, "")} & BINDS[language] and len(places[text]) == 1:
                bound.add(text)
    names = tuple(Name(text, tuple(places[text])) for text in places if text in bound - fixed - KEPT)
    return Body(function.start_point[0], function.end_point[0] + 1, names, frozenset({*places, *fixed}))


def _identifiers(root: Any) -> Iterator[tuple[Any, Any, str]]:
    """Every identifier under `root`, in the order of the text, with its parent and the field that it is there."""
    waiting: list[tuple[Any, Any, str]] = [(root, None, "")]
    while waiting:
        node, parent, name = waiting.pop()
        if node.type in IDENTIFIERS:
            yield node, parent, name
        children = [(child, node, node.field_name_for_child(i) or "") for i, child in enumerate(node.children)]
        waiting += reversed(children)
