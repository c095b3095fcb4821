"""What lies in an unpacked source: its import root, packages, test files, name, licence and dependencies."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from repodojo.core.errors import SourceError

ROOTS = ("src", "lib", "python", "")
NOT_PACKAGES = {"tests", "test", "testing", "docs", "doc", "examples", "example", "benchmarks", "benchmark", "bench"}
NOT_PACKAGES |= {"scripts", "tools", "build", "dist", "ci", "tasks", "requirements", "etc"}
NOT_MODULES = {"setup", "conftest", "noxfile", "fabfile", "conf", "versioneer", "tasks", "ez_setup", "run_tests"}
TEST_FILE = re.compile(r"(^|/)(test_[^/]*|[^/]*_tests?|tests?)\.py$")
LARGEST = 400_000
"""Bytes of a file above which it is left out of a tree (data that tests rarely need)."""


@dataclass(frozen=True)
class Layout:
    """A source as the rest of this room sees it. Paths are relative to `root`, with forward slashes.

    files: what a box gets (no test files); tests: what stays on the host; import_root: "" or e.g. "src"
    """

    root: Path
    name: str
    version: str
    licence: str
    requires: tuple[str, ...]
    import_root: str
    files: tuple[str, ...]
    tests: tuple[str, ...]

    def modules(self) -> list[str]:
        """Python files of the package itself."""
        prefix = f"{self.import_root}/" if self.import_root else ""
        helpers = re.compile(r"(^|/)(tests?|testing|conftest\.py|__main__\.py)(/|$)")
        return [p for p in self.files if p.endswith(".py") and p.startswith(prefix) and not helpers.search(p)]


def layout_of(root: Path, name: str = "") -> Layout:
    """Find out how a source is laid out; SourceError where no Python package is in it."""
    meta = _metadata(root)
    name = name or meta.get("name", "") or root.name
    for base in ROOTS:
        packages = _packages(root / base, name) if (root / base).is_dir() else []
        if packages:
            break
    else:
        raise SourceError(
            f"no Python package or module in {name!r}",
            way_out="name a source that has a folder with __init__.py, or a module, at its top or under src/",
        )
    kept: list[str] = []
    tests: list[str] = []
    for top in [*packages, *_test_folders(root), *(p for p in root.glob("*.py") if TEST_FILE.search(p.name))]:
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            relative = path.relative_to(root).as_posix()
            if not _wanted(path, relative):
                continue
            (tests if TEST_FILE.search(relative) and _is_test(path) else kept).append(relative)
    return Layout(
        root=root,
        name=name,
        version=meta.get("version", ""),
        licence=meta.get("licence", ""),
        requires=tuple(filter(None, meta.get("requires", "").splitlines())),
        import_root=base,
        files=tuple(dict.fromkeys(kept)),
        tests=tuple(dict.fromkeys(tests)),
    )


def read_source(path: Path) -> str:
    """A Python file with its line ends as they are, "" where it is not plain UTF-8."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            text = stream.read()
    except UnicodeDecodeError:
        return ""
    return "" if text.startswith("\ufeff") else text


def canonical(name: str) -> str:
    """A distribution's name in its canonical form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages(base: Path, name: str) -> list[Path]:
    """Packages and modules at an import root; those that bear the distribution's name where there are any."""
    folders = [p.parent for p in base.glob("*/__init__.py") if p.parent.name not in NOT_PACKAGES]
    modules = [p for p in base.glob("*.py") if p.stem not in NOT_MODULES and not TEST_FILE.search(p.name)]
    modules = [p for p in modules if not p.name.startswith((".", "_"))]
    wanted = canonical(name).removeprefix("python-")
    named = [p for p in (*folders, *modules) if canonical(p.stem) in (wanted, wanted.replace("-", ""))]
    return sorted(named or folders or modules)


def _test_folders(root: Path) -> list[Path]:
    return [root / name for name in ("tests", "test") if (root / name).is_dir()]


def _is_test(path: Path) -> bool:
    """Whether a file with a test's name holds tests (a package's own `test.py` may not)."""
    return bool(re.search(r"^\s*(async )?def test_?|unittest", path.read_text(errors="replace"), re.MULTILINE))


def _wanted(path: Path, relative: str) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.split("/"))
    regular = path.is_file() and not path.is_symlink()
    return regular and not hidden and path.suffix not in (".pyc", ".so", ".c") and path.stat().st_size <= LARGEST


def _metadata(root: Path) -> dict[str, str]:
    """Name, version, licence and requirements, from PKG-INFO, else from pyproject.toml."""
    for path in [root / "PKG-INFO", *root.glob("*.egg-info/PKG-INFO"), *root.glob("src/*.egg-info/PKG-INFO")]:
        if path.is_file():
            headers = HeaderParser().parsestr(path.read_text(errors="replace"))
            licences = [headers.get("License-Expression", ""), headers.get("License", "")]
            licences += [c.rpartition(" :: ")[2] for c in headers.get_all("Classifier", []) if c.startswith("License")]
            return {
                "name": headers.get("Name", ""),
                "version": headers.get("Version", ""),
                "licence": next((x.strip() for x in licences if x.strip() and "\n" not in x and len(x) < 80), ""),
                "requires": "\n".join(headers.get_all("Requires-Dist", [])),
            }
    path = root / "pyproject.toml"
    if not path.is_file():
        return {}
    try:
        project = tomllib.loads(path.read_text()).get("project", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{path.name} cannot be read: {error}", way_out="mend that file") from None
    licence = project.get("license", "")
    return {
        "name": project.get("name", ""),
        "version": str(project.get("version", "")),
        "licence": licence if isinstance(licence, str) else str(licence.get("text", "")),
        "requires": "\n".join(project.get("dependencies", [])),
    }
