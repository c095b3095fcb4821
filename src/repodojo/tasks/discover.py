"""Functions of a package, their doctests, and the tests that a test file holds."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from repodojo.tasks.text import Text

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class FunctionInfo:
    """A top-level function or a method (or, from `classes`, a class), where it stands and what its docstring says.

    `body` leaves the docstring out; `span` runs from `def` (or the first decorator) to the end, in characters.
    """

    path: str
    qualname: str
    node: Definition | ast.ClassDef
    text: Text
    docstring: str

    @property
    def focus(self) -> str:
        return f"{self.path}::{self.qualname}"

    @property
    def doctest_id(self) -> str:
        return f"doctest:{self.focus}" if ">>>" in self.docstring else ""

    @cached_property
    def body(self) -> tuple[ast.stmt, ...]:
        statements = self.node.body
        return tuple(statements[1:] if ast.get_docstring(self.node, clean=False) is not None else statements)

    @cached_property
    def span(self) -> tuple[int, int]:
        return self.text.span(self.node)

    @cached_property
    def body_span(self) -> tuple[int, int]:
        """From the first statement's line (leading white space included) to the end of the last one's line."""
        if not self.body:
            return self.span[1], self.span[1]
        first, last = self.body[0], self.body[-1]
        assert last.end_lineno is not None
        start = self.text.span(first)[0]
        line = self.text.starts[first.lineno - 1]
        start = line if not self.text.source[line:start].strip() else start
        return start, max(self.text.starts[last.end_lineno], self.text.span(last)[1])

    @cached_property
    def lines(self) -> int:
        """Lines of signature and body, the docstring left out."""
        if not self.body or self.body[-1].end_lineno is None:
            return 0
        return self.body[-1].end_lineno - self.body[0].lineno + 2

    @cached_property
    def digest(self) -> str:
        """The same for two functions with the same body and parameters, whatever name or formatting they have."""
        given: list[ast.AST] = [*self.node.bases] if isinstance(self.node, ast.ClassDef) else [self.node.args]
        parts = [*map(ast.dump, given), *map(ast.dump, self.body)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def functions(path: str, source: str) -> list[FunctionInfo]:
    """Top-level functions and methods of a file; [] where it does not parse (it is then not a file of this Python)."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    text = Text(source)
    found = dict(_definitions(tree.body, ""))
    return [
        FunctionInfo(path, name, node, text, ast.get_docstring(node, clean=False) or "") for name, node in found.items()
    ]


def classes(path: str, source: str) -> list[FunctionInfo]:
    """Top-level classes of a file; [] where it does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    text = Text(source)
    found = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return [
        FunctionInfo(path, name, node, text, ast.get_docstring(node, clean=False) or "") for name, node in found.items()
    ]


def _definitions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Definition]]:
    for node in body:
        if isinstance(node, Definition):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _definitions(node.body, f"{prefix}{node.name}.")


def docstrings(path: str, source: str) -> dict[str, str]:
    """The text behind each doctest id of a file, as it must be, whatever an agent later writes there."""
    return {f.doctest_id: f.docstring for f in functions(path, source) if f.doctest_id}


# ---------------------------------------------------------------- pytest files


@dataclass(frozen=True)
class _TestFile:
    """Where the tests of a file stand: ("test_x", start, end) and, for a class, (name, start, end, its tests)."""

    tests: tuple[tuple[str, int, int], ...]
    classes: tuple[tuple[str, int, int, tuple[tuple[str, int, int], ...]], ...]


@lru_cache(maxsize=256)
def _test_file(source: str) -> _TestFile:
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return _TestFile((), ())
    text = Text(source)
    classes = []
    for node in body:
        if isinstance(node, ast.ClassDef) and (methods := _tests(node.body, text, f"{node.name}::")):
            classes.append((node.name, *_lines(node, text), methods))
    return _TestFile(_tests(body, text, ""), tuple(classes))


def _tests(body: list[ast.stmt], text: Text, prefix: str) -> tuple[tuple[str, int, int], ...]:
    found = [n for n in body if isinstance(n, Definition) and n.name.startswith("test")]
    return tuple((prefix + n.name, *_lines(n, text)) for n in found)


def _lines(node: Definition | ast.ClassDef, text: Text) -> tuple[int, int]:
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    assert node.end_lineno is not None
    return text.starts[first - 1], text.starts[node.end_lineno]


def pytest_ids(path: str, source: str) -> list[str]:
    """`pytest:` ids of a test file, one a test function or method, parametrised or not; [] where it does not parse."""
    file = _test_file(source)
    names = [name for name, _, _ in file.tests] + [name for _, _, _, tests in file.classes for name, _, _ in tests]
    return [f"pytest:{path}::{name}" for name in dict.fromkeys(names)]


def prune(source: str, names: Collection[str]) -> str:
    """A test file with only the tests in `names` ("test_x", "TestY::test_z") and all that is not a test."""
    file = _test_file(source)
    drop = [(start, end) for name, start, end in file.tests if name not in names]
    for _, start, end, tests in file.classes:
        unwanted = [(first, last) for name, first, last in tests if name not in names]
        drop += [(start, end)] if len(unwanted) == len(tests) else unwanted
    for start, end in sorted(drop, reverse=True):
        source = source[:start] + source[end:]
    return re.sub(r"\n{4,}", "\n\n\n", source)
