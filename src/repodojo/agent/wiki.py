"""A repository's wiki: layout, a page for each folder of code, conventions, how to test; worked out from its graph.

Nothing is guessed: each line is a count, a name or a file that stands there. A model may add a summary to each page
(see `repodojo wiki --model`), which is marked as such.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from statistics import median, quantiles

from repodojo.agent.graph import answers
from repodojo.agent.graph.graph import Graph, imported_by, imports_of

MOST_ROWS = 40  # of any list on a page
_CASES = {
    "snake_case": re.compile(r"_*[a-z][a-z0-9]*(_[a-z0-9]+)+_*"),
    "camelCase": re.compile(r"[a-z][a-z0-9]*([A-Z][A-Za-z0-9]*)+"),
    "PascalCase": re.compile(r"[A-Z][a-z0-9]+([A-Z][a-z0-9]*)*"),
    "lower": re.compile(r"_*[a-z][a-z0-9]*_*"),
}
_TESTS = re.compile(
    r"(^|/)(tests?|spec|__tests__)/|(^|/)test_[^/]*$|[._-](test|spec)\.[^/]*$|_test\.[^/]*$|Test\.java$"
)

Reader = Callable[[str], str | None]
"""Gives a file's text by its path, None where there is none."""


def pages(graph: Graph, read: Reader) -> dict[str, str]:
    """Name of page to its Markdown: index, conventions, testing, and modules/FOLDER for every folder with code."""
    folders = _folders(graph)
    found = {f"modules/{folder or 'root'}": _module(graph, folder, paths) for folder, paths in folders.items()}
    return {
        "index": _index(graph, folders),
        "conventions": _conventions(graph),
        "testing": _testing(graph, read),
        **found,
    }


def _folders(graph: Graph) -> dict[str, list[str]]:
    folders = defaultdict(list)
    for path in sorted(graph.paths()):
        folders[path.rpartition("/")[0]].append(path)
    return dict(folders)


def _index(graph: Graph, folders: dict[str, list[str]]) -> str:
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for path in graph.paths():
        if facts := graph.facts(path):
            lines[facts.language] += facts.lines
            files[facts.language] += 1
    rows = [f"- {name}: {files[name]} files, {count} lines" for name, count in lines.most_common()]
    layout = [f"- [{folder or '.'}](modules/{folder or 'root'}.md): {len(p)} files" for folder, p in folders.items()]
    more = ["", "See also [conventions](conventions.md) and [testing](testing.md)."]
    return "\n".join(["# Layout", "", *rows, "", "## Folders", "", *layout, *more]) + "\n"


def _module(graph: Graph, folder: str, paths: Sequence[str]) -> str:
    parts = [f"# {folder or '.'}"]
    for path in paths:
        parts += ["", f"## {path}", ""]
        shown = [p for p in answers.outline(graph, path) if not p.definition.name.startswith("_")]
        top = [p for p in shown if p.definition.qualified.count(".") < 2]
        parts += _rows([f"- `{p.definition.signature}` ({p.definition.kind}, line {p.definition.first})" for p in top])
        for title, others in (("Imports", imports_of(graph, path)), ("Imported by", imported_by(graph, path))):
            if others:
                parts.append(f"\n{title}: {', '.join(_rows(others))}")
    return "\n".join(parts) + "\n"


def _rows(rows: Sequence[str]) -> list[str]:
    return [*rows[:MOST_ROWS], *([f"[{len(rows) - MOST_ROWS} more]"] if len(rows) > MOST_ROWS else [])]


def _conventions(graph: Graph) -> str:
    """How things are called and how long they are, by language and kind."""
    names: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    lengths: dict[str, list[int]] = defaultdict(list)
    for path in graph.paths():
        facts = graph.facts(path)
        for d in facts.definitions if facts else ():
            names[facts.language if facts else "", d.kind][case(d.name)] += 1
            if d.kind in ("function", "method"):
                lengths[facts.language if facts else ""].append(d.last - d.first + 1)
    parts = ["# Conventions", "", "## Names", ""]
    for (language, kind), counts in sorted(names.items()):
        total = sum(counts.values())
        shares = ", ".join(f"{name} {count / total:.0%}" for name, count in counts.most_common(3))
        parts.append(f"- {language} {kind} ({total}): {shares}")
    parts += ["", "## Length of functions (lines)", ""]
    for language, found in sorted(lengths.items()):
        tenth = quantiles(found, n=10)[-1] if len(found) > 1 else found[0]
        parts.append(f"- {language}: median {median(found):g}, nine in ten up to {tenth:.0f}, longest {max(found)}")
    return "\n".join(parts) + "\n"


def case(name: str) -> str:
    """How a name is written.

    >>> [case(name) for name in ("to_json", "toJson", "ToJson", "MAX_SIZE", "run")]
    ['snake_case', 'camelCase', 'PascalCase', 'UPPER_CASE', 'lower']
    """
    if name.isupper():
        return "UPPER_CASE"
    return next((case for case, pattern in _CASES.items() if pattern.fullmatch(name)), "other")


def _testing(graph: Graph, read: Reader) -> str:
    tests = sorted(path for path in graph.paths() if _TESTS.search(path))
    folders = Counter(path.rpartition("/")[0] or "." for path in tests)
    parts = ["# How to test", "", "## Commands", ""]
    parts += [f"- `{command}` ({why})" for command, why in test_commands(graph, read)] or ["- none was found"]
    parts += ["", f"## Test files ({len(tests)})", ""]
    parts += _rows([f"- {folder}: {count}" for folder, count in folders.most_common()])
    return "\n".join(parts) + "\n"


def test_commands(graph: Graph, read: Reader) -> list[tuple[str, str]]:
    """Commands that run the tests, each with the file that says so."""
    found = []
    makefile = read("Makefile") or ""
    if re.search(r"^test:", makefile, re.MULTILINE):
        found.append(("make test", "Makefile has a target test"))
    for name in ("pyproject.toml", "pytest.ini", "setup.cfg", "tox.ini"):
        if "pytest" in (read(name) or ""):
            found.append(("python -m pytest", f"{name} speaks of pytest"))
            break
    script = _npm_test(read("package.json"))
    if script:
        found.append(("npm test", f"package.json: {script}"))
    for name, command in (
        ("go.mod", "go test ./..."),
        ("Cargo.toml", "cargo test"),
        ("pom.xml", "mvn test"),
        ("build.gradle", "gradle test"),
        ("CMakeLists.txt", "ctest"),
    ):
        if read(name) is not None:
            found.append((command, f"{name} is there"))
    if not found and any(_TESTS.search(path) and path.endswith(".py") for path in graph.paths()):
        found.append(("python -m pytest", "there are Python tests, and no file says how they are run"))
    return found


def _npm_test(text: str | None) -> str:
    try:
        package = json.loads(text or "{}")
    except ValueError:
        return ""
    scripts = package.get("scripts", {}) if isinstance(package, dict) else {}
    return str(scripts.get("test", "")) if isinstance(scripts, dict) else ""
