"""What a mutation is, and what its families see."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from repodojo.tasks.text import Text


@dataclass(frozen=True)
class Edit:
    """Replace source[start:end] (characters) by `text`."""

    start: int
    end: int
    text: str

    def apply(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]

    def inverse(self, source: str) -> Edit:
        """The edit that takes the changed text back to `source`."""
        return Edit(self.start, self.start + len(self.text), source[self.start : self.end])


@dataclass(frozen=True)
class Mutant:
    """One injected bug: its kind, the edit of the file, and what was done (for people; never shown to an agent)."""

    kind: str
    edit: Edit
    description: str


@dataclass(frozen=True)
class Scope:
    """What a family of mutations sees: the file, the function (or class), and the statements that may be changed."""

    text: Text
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    body: tuple[ast.stmt, ...]

    def nodes(self) -> Iterator[ast.AST]:
        """Every node of the body; annotations, type ids in f-strings and the docstring are left out."""
        stack: list[ast.AST] = list(reversed(self.body))
        while stack:
            node = stack.pop()
            yield node
            if isinstance(node, ast.JoinedStr):
                continue
            skipped = {id(getattr(node, name, None)) for name in ("annotation", "returns")}
            stack += [child for child in reversed(list(ast.iter_child_nodes(node))) if id(child) not in skipped]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Parameters and local names, in order of appearance, without `self` and `cls`."""
        given: Iterable[ast.AST] = () if isinstance(self.node, ast.ClassDef) else ast.walk(self.node.args)
        found = [node.arg for node in given if isinstance(node, ast.arg)]
        found += [n.id for n in self.nodes() if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        return tuple(name for name in dict.fromkeys(found) if name not in ("self", "cls", "_"))
