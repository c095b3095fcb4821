"""Functions of Python sources: what the base reads. Packages of the dev and held-out splits never enter."""

from __future__ import annotations

import ast
import hashlib
import random
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from repodojo.agent.focus import render

SKIPPED = ("test", "_vendor", "vendored", "site-packages", "locale", "migrations", "conftest", "/docs/", "/doc/")
DEEPEST = 7  # folders of a path: longer ones eat the context


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


def normal(function: Function) -> str:
    """The code without its name, comment lines and blanks: copies of a function under another name share it."""
    code = re.sub(r"^\s*#.*$", "", function.code, flags=re.MULTILINE)
    return re.sub(r"\s+", "", re.sub(r"\bdef\s+\w+", "def", code, count=1))


def chance(function: Function) -> float:
    """A number in [0, 1) that depends on nothing but the normal code: small ones are held out of training."""
    return int.from_bytes(hashlib.sha256(normal(function).encode()).digest()[:6], "big") / 2**48


@dataclass(frozen=True)
class Corpus:
    """Shuffled functions to read, and functions that the gate plays on and training never sees (in order of chance).

    removed: functions left out because a package of the excluded splits has the same code
    """

    train: Sequence[Function]
    held: Sequence[Function]
    removed: int


def divide(found: Iterable[Function], *, excluded: Iterable[Function], held: float, seed: int) -> Corpus:
    """Same code once; the share `held` apart, chosen by content, so that it is the same whatever else is read."""
    forbidden = {normal(function) for function in excluded}
    kept: dict[str, Function] = {}
    removed = 0
    for function in found:
        code = normal(function)
        if code in forbidden:
            removed += 1
        elif function.path.count("/") <= DEEPEST:
            kept.setdefault(code, function)
    chances = {code: chance(function) for code, function in kept.items()}
    train = [function for code, function in kept.items() if chances[code] >= held]
    apart = sorted((code for code in kept if chances[code] < held), key=lambda code: chances[code])
    random.Random(seed).shuffle(train)
    return Corpus(train, [kept[code] for code in apart], removed)


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
