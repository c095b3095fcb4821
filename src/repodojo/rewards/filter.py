"""Which of an agent's changes may enter the box that grades it."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Mapping

REFUSED_NAMES = {"conftest.py", "pytest.ini", "tox.ini", "setup.cfg", "setup.py", "pyproject.toml", "sitecustomize.py"}
REFUSED_NAMES |= {"usercustomize.py", ".gitattributes", ".gitmodules", "Makefile", "noxfile.py"}
REFUSED_FOLDERS = {"tests", "test", ".git", "__pycache__", "site-packages", "node_modules"}
REFUSED_ENDINGS = (".pth", ".pyc", ".pyo", ".so", ".egg-link", ".sh")
TEST_FILE = re.compile(r"^(test_.*|.*_tests?)\.py$")
SHADOWING = sys.stdlib_module_names | {"pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments"}
SHADOWING |= {"boxrun", "boxchild", "boxbatch", "boxproc", "boxvalues", "boxwitness", "boxdoctest"}
SHADOWING |= {"sitecustomize", "usercustomize", "conftest"}  # as packages they start as well as modules do
LARGEST = 1 << 20
MOST = 64


def admissible(
    changes: Mapping[str, bytes | None], protected: tuple[str, ...] = (), roots: tuple[str, ...] = ("",)
) -> tuple[dict[str, bytes | None], dict[str, str]]:
    """The changes that count, and the others with the reason.

    Tests, configuration of the tests, start-up hooks, byte code and modules that would shadow the standard library or
    the grader (at an import root, one of `roots`) are refused by name; so is what is outside the tree or too large.

    >>> admissible({"pkg/a.py": b"x = 1", "tests/test_a.py": b""})
    ({'pkg/a.py': b'x = 1'}, {'tests/test_a.py': 'a test'})
    """
    kept: dict[str, bytes | None] = {}
    refused: dict[str, str] = {}
    for path, data in sorted(changes.items(), key=lambda change: (_hidden(change[0]), change[0])):
        reason = _reason(path, data, protected, roots)
        if not reason and len(kept) >= MOST:
            reason = "too many files"
        if reason:
            refused[path] = reason
        else:
            kept[path] = data
    return kept, refused


def _hidden(path: str) -> bool:
    """In a folder of a tool's: what no repair is in, so that it takes no repair's place where there are too many."""
    return path.startswith(".") or "/." in path


def _reason(path: str, data: bytes | None, protected: tuple[str, ...], roots: tuple[str, ...]) -> str:
    parts = path.split("/")
    if path != posixpath.normpath(path) or path.startswith("/") or ".." in parts or "\0" in path:
        return "outside the tree"
    if path in protected or parts[-1] in REFUSED_NAMES:
        return "protected"
    if TEST_FILE.match(parts[-1]) or any(part in REFUSED_FOLDERS for part in parts[:-1]):
        return "a test" if "git" not in path else "protected"
    if path.endswith(REFUSED_ENDINGS) or any(part.endswith((".dist-info", ".egg-info")) for part in parts):
        return "not source"
    if any(_shadows(path, root) for root in roots):
        return "shadows a module of the grader"
    if data is not None and len(data) > LARGEST:
        return "too large"
    return "" if data is None or _is_text(data) else "binary"


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def new_modules(changes: Mapping[str, bytes | None], roots: tuple[str, ...]) -> dict[str, str]:
    """Top-level modules that changes write to, by path: at an import root they go before every installed one.

    >>> new_modules({"src/attr/__init__.py": b"", "src/pkg.txt": b""}, ("", "src"))
    {'src/attr/__init__.py': 'attr'}
    """
    found: dict[str, str] = {}
    for path, data in changes.items():
        root = max((r for r in roots if not r or path.startswith(f"{r}/")), key=len, default=None)
        if data is None or root is None:
            continue
        top, _, rest = (path.removeprefix(f"{root}/") if root else path).partition("/")
        if (rest or top.endswith(".py")) and top.removesuffix(".py").isidentifier():
            found[path] = top.removesuffix(".py")
    return found


def _shadows(path: str, root: str) -> bool:
    inside = path.removeprefix(f"{root}/") if root else path
    if root and inside == path:
        return False
    top = inside.split("/")[0]
    return top.partition(".")[0] in SHADOWING and (top.endswith(".py") or "/" in inside)
