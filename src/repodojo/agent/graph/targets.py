"""From an import as written to the files of the repository that it may mean."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable

_ENDINGS = {
    "python": (".py", ".pyi", "/__init__.py"),
    "javascript": ("", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", "/index.js", "/index.ts"),
    "typescript": ("", ".ts", ".tsx", ".d.ts", ".js", ".jsx", "/index.ts", "/index.tsx", "/index.js"),
    "java": (".java",),
    "rust": (".rs", "/mod.rs", "/lib.rs"),
    "c": ("",),
    "cpp": ("",),
}
_ENDINGS["tsx"] = _ENDINGS["typescript"]


def key(module: str) -> str:
    """The word by which an import is filed: the last of its parts, without a suffix.

    >>> key("./ui/button.js"), key("a.b.C"), key("crate::a::b"), key("..util")
    ('button', 'C', 'b', 'util')
    """
    last = module.rstrip("/").replace("::", "/").rpartition("/")[2]
    if "." not in last:
        return last
    head, _, tail = last.rpartition(".")
    return head.rpartition(".")[2] if tail in ("js", "ts", "jsx", "tsx", "h", "hpp", "hh", "mjs", "cjs") else tail


def keys_of(path: str) -> set[str]:
    """The words by which a file may be imported: its stem and its folder's name."""
    folder, _, name = path.rpartition("/")
    return {name.partition(".")[0], folder.rpartition("/")[2]} - {""}


def resolve(module: str, path: str, language: str, ending_in: Callable[[str], Iterable[str]]) -> list[str]:
    """Files that `module`, imported by the file `path`, may mean. `ending_in` gives paths by their end.

    Names alone decide: where two folders hold the same path, both are given.
    """
    folder = posixpath.dirname(path)
    if language == "go":
        return _of_folder(module, ending_in)
    stem, relative = _stem(module, folder, language)
    if not stem or stem == ".":
        return []
    found = [p for end in _ENDINGS.get(language, ()) for p in ending_in(stem + end)]
    if relative:
        found = [p for p in found if any(p == stem + end for end in _ENDINGS[language])]
    elif language in ("c", "cpp"):
        beside = posixpath.normpath(posixpath.join(folder, stem))
        found = [p for p in found if p == beside] or found
    return list(dict.fromkeys(found))


def _of_folder(module: str, ending_in: Callable[[str], Iterable[str]]) -> list[str]:
    """Go imports folders: those whose path ends in as much of the module's as possible."""
    parts = module.split("/")
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        found = [p for p in ending_in(f"{tail}/*.go") if not p.endswith("_test.go")]
        if found:
            return found
    return []


def _stem(module: str, folder: str, language: str) -> tuple[str, bool]:
    """The path that an import speaks of, without suffix, and whether it is exact (else: the end of one)."""
    if language == "python":
        dots = len(module) - len(module.lstrip("."))
        below = module[dots:].replace(".", "/")
        if not dots:
            return below, False
        above = folder
        for _ in range(dots - 1):
            above = posixpath.dirname(above)
        return posixpath.join(above, below) if below else above, True
    if language in ("javascript", "typescript", "tsx"):
        return (posixpath.normpath(posixpath.join(folder, module)), True) if module.startswith(".") else ("", True)
    if language == "rust":
        parts = [p for p in module.partition("{")[0].split("::") if p not in ("crate", "self", "super", "")]
        return "/".join(parts), False
    return module.replace(".", "/") if language == "java" else module, False
