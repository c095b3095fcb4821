"""What `plain` asks of Python, asked of JavaScript: does a change add what could reach the test runner?

Node's runner reads a child's standard output, and keeps the tests in the same process as the code under test. Honest
code may well use what is named here; only what a change adds counts. A heuristic: a name put together at run time is
not seen, except from literals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from repodojo.agent.graph.grammars import grammar

ENDINGS = (".js", ".cjs", ".mjs")
_MODULES = """
assert assert/strict async_hooks child_process cluster console diagnostics_channel domain fs fs/promises inspector
inspector/promises module net perf_hooks process repl test test/reporters trace_events v8 vm wasi worker_threads
"""
_NAMES = """
Function Proxy Reflect WebAssembly __defineGetter__ __defineSetter__ __proto__ binding callee caller createRequire
defineProperties defineProperty dlopen eval global globalThis mainModule prepareStackTrace process setPrototypeOf
"""
_BUILT_IN = """
Array Atomics BigInt Boolean Date Error Intl JSON Map Math Number Object Promise RegExp Set String Symbol WeakMap
WeakSet console
"""
MODULES, NAMES, BUILT_IN = (frozenset(text.split()) for text in (_MODULES, _NAMES, _BUILT_IN))
WORDS = ("identifier", "property_identifier", "shorthand_property_identifier", "shorthand_property_identifier_pattern")


def forbidden(before: str, after: str) -> tuple[str, ...]:
    """What `after` uses more often than `before`; ("does not parse",) where only `after` does not.

    >>> forbidden("", "process.exit(0)"), forbidden("let x", "let x = require('node:path')")
    (('process',), ())
    """
    parser = grammar("javascript").parser
    old, new = (parser.parse(text.encode()).root_node for text in (before, after))
    if new.has_error and not old.has_error:
        return ("does not parse",)
    return tuple(sorted(Counter(_used(new)) - Counter(_used(old))))


def _used(root: Any) -> Iterator[str]:
    for node in _nodes(root):
        if node.type in WORDS:
            yield from _name(node)
        elif node.type == "string" and node.parent.type in ("import_statement", "export_statement"):
            yield from _module(node)
        elif node.type == "call_expression":
            yield from _call(node)
        elif node.type == "subscript_expression":
            yield from _index(node.child_by_field_name("index"))
        elif node.type in ("assignment_expression", "augmented_assignment_expression"):
            left = node.child_by_field_name("left")
            if left.type != "identifier" and (root_name := _root(left)) in BUILT_IN:
                yield f"{root_name} changed"


def _name(node: Any) -> Iterator[str]:
    """A forbidden word; `constructor` where it is read, and `require` where it is not called."""
    name, above = _text(node), node.parent.type
    read = (name, above) == ("constructor", "member_expression")
    passed_on = name == "require" and above != "call_expression"
    if name in NAMES or read or passed_on:
        yield name


def _call(node: Any) -> Iterator[str]:
    """`require` and `import` of a module that tests are made of, or of one that is not written out."""
    function = node.child_by_field_name("function")
    arguments = [child for child in node.child_by_field_name("arguments").children if child.is_named]
    if _text(function) in ("require", "import"):
        if len(arguments) == 1 and arguments[0].type == "string":
            yield from _module(arguments[0])
        else:
            yield f"{_text(function)} of a computed name"
    elif _text(function) == "Object.assign" and arguments and _root(arguments[0]) in BUILT_IN:
        yield f"{_root(arguments[0])} changed"


def _module(node: Any) -> Iterator[str]:
    name = _literal(node).removeprefix("node:")
    if name in MODULES:
        yield name


def _index(node: Any) -> Iterator[str]:
    """A member that is named by a string: a forbidden word, or one that is put together from literals."""
    if node.type == "string" and _literal(node) in NAMES | {"constructor"}:
        yield _literal(node)
    elif node.type == "binary_expression" and all(child.type == "string" for child in node.named_children):
        yield "a name in pieces"


def _root(node: Any) -> str:
    """The identifier that a chain of members begins with; "" where it begins with something else."""
    while node.type in ("member_expression", "subscript_expression"):
        node = node.child_by_field_name("object")
    return _text(node) if node.type == "identifier" else ""


def _literal(node: Any) -> str:
    return _text(node)[1:-1]


def _text(node: Any) -> str:
    return bytes(node.text).decode(errors="replace")


def _nodes(root: Any) -> Iterator[Any]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.children
