"""The languages that are known: which file names are theirs, their grammar, and the queries (`queries/*.scm`)."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

SUFFIXES = {
    ".py": "python",
    ".pyi": "python",
    ".js": "javascript",
    ".jsx": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
    ".cts": "typescript",
    ".tsx": "tsx",
    ".go": "go",
    ".java": "java",
    ".rs": "rust",
    ".c": "c",
    ".h": "cpp",  # the C++ grammar reads nearly all of C, and a header does not say which it is
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cxx": "cpp",
    ".hh": "cpp",
    ".hpp": "cpp",
}
LANGUAGES = tuple(dict.fromkeys(SUFFIXES.values()))


def language_of(path: str) -> str:
    """The language of a file by its name; "" where it is none of ours.

    >>> language_of("src/a.tsx"), language_of("README.md")
    ('tsx', '')
    """
    name = path.rpartition("/")[2]
    return SUFFIXES.get(name[name.rfind(".") :].lower(), "") if "." in name else ""


@dataclass(frozen=True)
class Grammar:
    """A parser and the query whose captures become facts (typed loosely: they are tree-sitter's own)."""

    parser: Any
    query: Any


@functools.cache
def grammar(language: str) -> Grammar:
    """The grammar of one of `LANGUAGES`; made once a process."""
    from tree_sitter import Language, Parser, Query

    package = "typescript" if language == "tsx" else language
    module = importlib.import_module(f"tree_sitter_{package}")
    maker = getattr(module, f"language_{language}" if package == "typescript" else "language")
    made = Language(maker())
    text = files("repodojo.agent.graph").joinpath("queries", f"{package}.scm").read_text(encoding="utf-8")
    return Grammar(Parser(made), Query(made, text))
