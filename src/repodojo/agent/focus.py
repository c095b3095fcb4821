"""Context that the harness retrieves: the definitions an issue speaks of, without their docstrings.

A small model cannot afford to page through files; a large one may do without (`context = "none"`). What is shown is
found from the symptom's names alone, never from the bug.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Sequence
from dataclasses import dataclass

from repodojo.agent.tools.base import View, numbered
from repodojo.core.protocols import Sandbox

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Listing:
    """Source lines for the prompt, the number of each in its file, and the editor view that they amount to."""

    text: str
    numbers: tuple[int, ...]
    view: View

    @property
    def numbered(self) -> str:
        """The lines as the editor shows them."""
        return "\n".join(map(numbered, self.numbers, self.text.split("\n")))


async def retrieve(sandbox: Sandbox, focus: Sequence[str]) -> Listing | None:
    """The first definition of `focus` ("pkg/mod.py::Class.name") that can be read; None where there is none."""
    for item in focus:
        path, _, name = item.partition("::")
        try:
            source = (await sandbox.read(path)).decode()
            return listing(path, source, name)
        except (OSError, ValueError, SyntaxError, RecursionError, LookupError):  # not text, not Python, not there
            continue
    return None


@functools.lru_cache(maxsize=256)  # the episodes of a group ask for the same, and large files take 20 ms to parse
def listing(path: str, source: str, name: str) -> Listing:
    """The definition's lines without docstring, dedented; LookupError where `name` is not defined in `source`."""
    text, numbers, ranges = render(_find(ast.parse(source), name.split(".")), source.split("\n"))
    return Listing(text, numbers, View(path, ranges))


def render(node: Definition, lines: Sequence[str]) -> tuple[str, tuple[int, ...], tuple[tuple[int, int], ...]]:
    """A definition's text without docstring and blank lines, dedented; its lines' numbers; the ranges they are of."""
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    last = node.end_lineno or node.lineno
    ranges: tuple[tuple[int, int], ...] = ((first, last),)
    doc = node.body[0]
    if _is_docstring(doc) and _stands_alone(doc, lines):
        ranges = tuple(r for r in ((first, doc.lineno - 1), ((doc.end_lineno or doc.lineno) + 1, last)) if r[0] <= r[1])
    numbers = tuple(n for a, b in ranges for n in range(a, b + 1) if lines[n - 1].strip())
    shown = [lines[n - 1] for n in numbers]
    indent = len(lines[first - 1]) - len(lines[first - 1].lstrip())
    text = "\n".join(line[min(indent, len(line) - len(line.lstrip())) :] for line in shown)
    return text, numbers, ranges


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _stands_alone(node: ast.stmt, lines: Sequence[str]) -> bool:
    """Whether its lines hold nothing else: `def f(): "doc"` cannot lose its docstring by lines."""
    before = lines[node.lineno - 1].encode()[: node.col_offset]
    after = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset :]
    return not before.strip() and (not after.strip() or after.lstrip().startswith(b"#"))


def _find(tree: ast.Module, names: Sequence[str]) -> Definition:
    body: list[ast.stmt] = tree.body
    found = None
    for name in names:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        matches = [node for node in body if isinstance(node, kinds) and node.name == name]
        if not matches:
            raise LookupError(name)
        found = matches[-1]
        body = found.body
    if found is None:
        raise LookupError("no name")
    return found
