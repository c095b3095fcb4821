"""One reader a file in which Python projects say what they need."""

from __future__ import annotations

import ast
import configparser
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import partial
from pathlib import Path
from typing import Any

from repodojo.core.errors import SourceError

TESTS = re.compile(r"^(tests?|testing|dev|develop|development|tests?[-_]\w+)$", re.IGNORECASE)
"""Extras and groups that tests may need."""
TEST_FILES = ("test-requirements*.txt", "requirements[-_]*.txt", "requirements/*.txt", "tests/requirements*.txt")
LARGEST = 1 << 20


@dataclass(frozen=True)
class Said:
    """What a file says. `requires` is None where it says nothing of that."""

    file: str
    requires: tuple[str, ...] | None = None
    tests: tuple[str, ...] = ()
    python: str = ""


Reader = Callable[[], Said]


def readers(root: Path) -> list[Reader]:
    """In the order in which they are believed."""
    infos = [
        root / "PKG-INFO",
        *sorted(root.glob("*.egg-info/PKG-INFO")),
        *sorted(root.glob("src/*.egg-info/PKG-INFO")),
    ]
    found: list[Reader] = []
    found.extend([partial(pkg_info, path) for path in infos if path.is_file()][:1])
    named: tuple[tuple[str, Callable[[Path], Said]], ...] = (
        ("pyproject.toml", pyproject),
        ("setup.cfg", setup_cfg),
        ("setup.py", setup_py),
        ("Pipfile", pipfile),
        ("requirements.txt", requirements),
        ("tox.ini", tox),
    )
    for name, reader in named:
        if (root / name).is_file() and (root / name).stat().st_size <= LARGEST:
            found.append(partial(reader, root / name))
    for pattern in TEST_FILES:
        for path in sorted(root.glob(pattern)):
            found.append(partial(test_requirements, path))
    return found


def pkg_info(path: Path) -> Said:
    """The metadata of a source archive."""
    headers = HeaderParser().parsestr(path.read_text(errors="replace"))
    listed = [str(x) for x in headers.get_all("Requires-Dist", [])]
    requires = tuple(x for x in listed if "extra ==" not in x.replace("'", '"'))
    extra = [
        x.partition(";")[0] for x in listed if (m := re.search(r"extra\s*==\s*['\"]([^'\"]+)", x)) and TESTS.match(m[1])
    ]
    says = "Requires-Dist" in headers or not _dynamic(path.parent)
    return Said("PKG-INFO", requires if says else None, tuple(extra), str(headers.get("Requires-Python", "")))


def _dynamic(root: Path) -> bool:
    """Whether other files may know more than metadata without a single requirement: old archives left them out."""
    return (root / "setup.py").is_file()


def pyproject(path: Path) -> Said:
    """[project] with its extras, [dependency-groups], and poetry's tables."""
    data = toml(path)
    project, tool = _table(data, "project"), _table(data, "tool")
    poetry = _table(tool, "poetry")
    requires: tuple[str, ...] | None = None
    if project and "dependencies" not in project.get("dynamic", ()):
        requires = _texts(project.get("dependencies", []))
    elif "dependencies" in poetry:
        requires = tuple(_poetry(poetry["dependencies"]))
    groups = {**_table(project, "optional-dependencies"), **_table(data, "dependency-groups")}
    tests = [text for name, texts in groups.items() if TESTS.match(name) for text in _texts(texts)]
    dev = [_table(poetry, "dev-dependencies")]
    dev += [_table(group, "dependencies") for name, group in _table(poetry, "group").items() if TESTS.match(name)]
    tests += [text for table in dev for text in _poetry(table)]
    python = project.get("requires-python") or _caret(str(_table(poetry, "dependencies").get("python", "")))
    return Said(path.name, requires, tuple(tests), str(python))


def setup_cfg(path: Path) -> Said:
    """[options] of setuptools."""
    ini = _ini(path)
    requires = ini.get("options", "install_requires", fallback=None)
    tests = ini.get("options", "tests_require", fallback="").splitlines()
    if ini.has_section("options.extras_require"):
        tests += [
            x for name, text in ini.items("options.extras_require") if TESTS.match(name) for x in text.splitlines()
        ]
    python = ini.get("options", "python_requires", fallback="")
    return Said(path.name, None if requires is None else _clean(requires.splitlines()), _clean(tests), python.strip())


def setup_py(path: Path) -> Said:
    """The literal arguments of `setup(...)`, names of the same file looked up; nothing is run."""
    try:
        tree = ast.parse(path.read_text(errors="replace"))
    except (SyntaxError, ValueError):
        return Said(path.name)
    names = {
        t.id: n.value for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)
    }
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and _called(n.func) == "setup"]
    given: dict[str, Any] = {}
    for call in calls[:1]:
        for keyword in call.keywords:
            value = _literal(keyword.value, names)
            given |= {keyword.arg: value} if keyword.arg else value if isinstance(value, dict) else {}
    requires = given.get("install_requires", () if calls else None)
    extras = given.get("extras_require")
    tests = list(_texts(given.get("tests_require")))
    for name, texts in (extras if isinstance(extras, dict) else {}).items():
        tests += _texts(texts) if TESTS.match(str(name)) else ()
    python = given.get("python_requires")
    return Said(path.name, None if requires is None else _texts(requires), tuple(tests), str(python or ""))


def _called(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _literal(node: ast.expr, names: Mapping[str, ast.expr], depth: int = 8) -> Any:
    """The value of an expression of literals, names and sums of lists; None where it is something else."""
    if isinstance(node, ast.Name) and depth:
        return _literal(names[node.id], names, depth - 1) if node.id in names else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and depth:
        left, right = (_literal(side, names, depth - 1) for side in (node.left, node.right))
        both = [*_texts(left), *_texts(right)]
        return both or None
    if isinstance(node, ast.Dict) and depth:
        keys = [k.value if isinstance(k, ast.Constant) else None for k in node.keys]
        return {k: _literal(v, names, depth - 1) for k, v in zip(keys, node.values, strict=True) if k}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def pipfile(path: Path) -> Said:
    """[packages], [dev-packages] and the interpreter, which is a wish and no bound."""
    data = toml(path)
    return Said(path.name, tuple(_poetry(_table(data, "packages"))), tuple(_poetry(_table(data, "dev-packages"))))


def requirements(path: Path) -> Said:
    """requirements.txt, with those that it includes."""
    return Said(path.name, tuple(lines_of(path)))


def test_requirements(path: Path) -> Said:
    """A further requirements file: what is in it may be for tests."""
    return Said(path.name, tests=tuple(lines_of(path)))


def tox(path: Path) -> Said:
    """[testenv] deps, whatever factor they are for."""
    text = _ini(path).get("testenv", "deps", fallback="")
    found: list[str] = []
    for line in text.splitlines():
        plain = re.sub(r"^[\w{},.!-]+:\s+", "", line.strip()).replace("{toxinidir}/", "").replace("{toxinidir}", ".")
        included = re.match(r"-r\s*(\S+)", plain)
        found += lines_of(path.parent / included[1]) if included else [plain]
    return Said(path.name, tests=_clean(found))


def lines_of(path: Path, depth: int = 5) -> list[str]:
    """Requirements of a file; options, addresses and hashes left out, `-r` followed inside the same project."""
    found: list[str] = []
    if not path.is_file() or not depth or path.stat().st_size > LARGEST:
        return found
    for line in path.read_text(errors="replace").replace("\\\n", " ").splitlines():
        plain = re.sub(r"(^|\s)#.*", "", line).strip()
        if included := re.match(r"(?:-r|--requirement)[\s=]*(\S+)", plain):
            found += lines_of(path.parent / included[1], depth - 1)
        elif plain and not plain.startswith("-"):
            found.append(plain.partition(" --hash")[0].strip())
    return found


def toml(path: Path) -> dict[str, Any]:
    """A TOML file; SourceError where it is broken."""
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{path.name} cannot be read: {error}", way_out="mend that file") from None


def _ini(path: Path) -> configparser.ConfigParser:
    ini = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        ini.read_string(path.read_text(errors="replace"))
    except configparser.Error as error:
        raise SourceError(f"{path.name} cannot be read: {error.message}", way_out="mend that file") from None
    return ini


def _poetry(table: Any) -> Iterator[str]:
    """Requirements of a table of poetry or a Pipfile: {"name": "^1.2"} or {"name": {"version": ...}}."""
    for name, given in (table if isinstance(table, dict) else {}).items():
        value = given[0] if isinstance(given, list) and given else given
        fields = value if isinstance(value, dict) else {"version": value}
        if name == "python" or fields.get("optional") or {"git", "path", "url", "file"} & fields.keys():
            continue
        extras = f"[{','.join(map(str, fields['extras']))}]" if fields.get("extras") else ""
        marker = f"; {fields['markers']}" if fields.get("markers") else ""
        yield f"{name}{extras}{_caret(str(fields.get('version', '*')))}{marker}"


def _caret(text: str) -> str:
    """Poetry's ^ and ~ as plain specifiers.

    >>> _caret("^1.2.3"), _caret("^0.2"), _caret("~1.2"), _caret("*"), _caret("1.4")
    ('>=1.2.3,<2', '>=0.2,<0.3', '>=1.2,<1.3', '', '==1.4')
    """
    found = []
    for part in filter(None, (p.strip() for p in text.partition("||")[0].split(","))):
        numbers = [int(n) for n in re.findall(r"\d+", part.lstrip("^~ "))[:3]]
        if part[0] == "^" and numbers:
            at = next((i for i, n in enumerate(numbers) if n), len(numbers) - 1)
        elif part[0] == "~" and part[1:2] != "=" and numbers:
            at = min(1, len(numbers) - 1)
        else:
            found.append("" if part == "*" else part if part[0] in "<>=!~" else f"=={part}")
            continue
        upper = ".".join(map(str, [*numbers[:at], numbers[at] + 1]))
        found.append(f">={part.lstrip('^~ ')},<{upper}")
    return ",".join(filter(None, found))


def _table(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.splitlines()
    return _clean(x for x in value if isinstance(x, str)) if isinstance(value, list | tuple | set) else ()


def _clean(lines: Iterable[str]) -> tuple[str, ...]:
    """Lines that may be requirements: not empty, no comments, no options."""
    return tuple(x.strip() for x in lines if x.strip() and x.strip()[0] not in "#-")
