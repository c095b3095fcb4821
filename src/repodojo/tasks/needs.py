"""What a Python project says it needs: read from its files, never by running them.

Of what the package needs, the first of PKG-INFO, pyproject.toml (project, poetry), setup.cfg, setup.py, Pipfile and
requirements.txt that says anything counts. Of what its tests need, all that any of them, tox.ini and further
requirements files name, as far as a test file imports it: linters and documentation tools are not installed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from repodojo.tasks.layout import read_source
from repodojo.tasks.needs_files import readers

IMPORTED_AS = {
    "attrs": "attr",
    "beautifulsoup4": "bs4",
    "pillow": "pil",
    "python-dateutil": "dateutil",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "protobuf": "google",
    "setuptools": "pkg_resources",
}
OURS = {"pytest", "pluggy", "iniconfig", "py", "pygments"}
"""What a box brings along itself, in versions that fit its interpreter."""


@dataclass(frozen=True)
class Needs:
    """`python` is a version specifier ("" for any); `requires` and `tests` are requirements without markers that hold
    for this interpreter, sorted; `files` names the files that said so."""

    python: str = ""
    requires: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def allows(self, version: str) -> bool:
        """Whether an interpreter of this version will do; a specifier that nobody can read allows any."""
        try:
            return SpecifierSet(self.python).contains(version, prereleases=True)
        except InvalidSpecifier:
            return True


def needs_of(root: Path, name: str = "", tests: Sequence[str] = ()) -> Needs:
    """Read a project's folder. `tests` are its test files, relative to it. Raises SourceError for a broken file."""
    said = [reader() for reader in readers(root)]
    requires: Iterable[str] = next((s.requires for s in said if s.requires is not None), ())
    wanted = _usable(requires, name)
    imports = {name for path in tests for name in _imports(root / path)}
    more = _usable([text for s in said for text in s.tests], name)
    there = {_name(text) for text in wanted}
    used = [text for text in more if _name(text) not in there and _imported(text) in imports]
    python = next((s.python for s in said if s.python), "")
    return Needs(python, wanted, tuple(sorted(used, key=_name)), tuple(s.file for s in said))


def _usable(lines: Iterable[str], name: str) -> tuple[str, ...]:
    """Requirements that hold here, by name and version: not addresses, not the package itself, not what boxes bring."""
    found: dict[str, str] = {}
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        mine = canonicalize_name(requirement.name)
        holds = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if holds and not requirement.url and mine not in OURS and mine != canonicalize_name(name):
            requirement.marker = None
            found.setdefault(mine, str(requirement))
    return tuple(found[mine] for mine in sorted(found))


def _name(text: str) -> str:
    return canonicalize_name(Requirement(text).name)


def _imported(text: str) -> str:
    """The module that a requirement is imported as, as far as its name tells."""
    name = _name(text)
    return IMPORTED_AS.get(name, name.replace("-", "_"))


def _imports(path: Path) -> set[str]:
    """Top-level names that a file imports, in lower case."""
    try:
        tree = ast.parse(read_source(path))
    except (OSError, SyntaxError, ValueError):
        return set()
    return {name.partition(".")[0].lower() for name in _modules(tree)}


def _modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if called == "importorskip" and re.match(r"\w", str(node.args[0].value)):
                yield str(node.args[0].value)
