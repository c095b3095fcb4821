"""Functions of Python sources: what the base reads. Packages of the dev and held-out splits never enter."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repodojo.agent.focus import render

SKIPPED = ("test", "_vendor", "vendored", "site-packages", "locale", "migrations", "conftest", "/docs/", "/doc/")


@dataclass(frozen=True)
class Function:
    """A definition without its docstring, dedented; `name` is "Class.method" for methods."""

    path: str
    name: str
    code: str
    docstring: str


def functions(root: Path, *, least: int = 3, most: int = 30) -> Iterator[Function]:
    """Each function of `least` to `most` code lines under `root`, same bodies once."""
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        if any(part in f"/{path.relative_to(root).as_posix()}" for part in SKIPPED):
            continue
        for function in _of_file(path, root):
            if least <= function.code.count("\n") + 1 <= most and function.code not in seen:
                seen.add(function.code)
                yield function


def _of_file(path: Path, root: Path) -> Iterator[Function]:
    try:
        text = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old sources hold escapes that Python now warns of
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, OSError):
        return
    relative = path.relative_to(root).as_posix()
    lines = text.split("\n")
    for owner, node in _definitions(tree):
        doc = ast.get_docstring(node, clean=True) or ""
        if len(node.body) > (1 if doc else 0):
            yield Function(relative, f"{owner}{node.name}", render(node, lines)[0], doc)


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield "", node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.", inner) for inner in node.body if isinstance(inner, ast.FunctionDef))
