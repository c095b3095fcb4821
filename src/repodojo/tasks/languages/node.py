"""JavaScript by Node: npm installs, Node's own test runner tests, a reporter in the runner's process tells.

Test files run in processes of their own (see `rewards.graders.node_tests`). Install scripts of packages are not run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import threading
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from repodojo.core.errors import SourceError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import Environment, Grader
from repodojo.rewards.filter import admissible
from repodojo.rewards.graders import node_tests
from repodojo.sandbox.local.boxroot import SITE
from repodojo.tasks.environment import LINKED, WORK_DIR, filling
from repodojo.tasks.languages import npm
from repodojo.tasks.languages.base import About, Built
from repodojo.tasks.runs import LATE, Report

ENDINGS = (".js", ".cjs", ".mjs")
TEST = re.compile(r"(^|/)(test/.*|test|test-[^/]*|[^/]*[._-]test)\.[cm]?js$")
"""The files that `node --test` takes by itself."""
TEST_FOLDER = re.compile(r"(^|/)(tests?|__tests__|specs?|fixtures)/")
LEFT_OUT = {"node_modules", ".git", "coverage", "dist", "build"}
LARGEST = 400_000
OF_PYTHON = ("pyproject.toml", "setup.py", "setup.cfg", "PKG-INFO")
VARIABLES = {"NODE_ENV": "test", "TZ": "UTC", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
PASSED_ON = {"--import", "--require", "-r", "--conditions", "-C"}
"""Options of the tests' script that Node takes from NODE_OPTIONS, each with a value."""


class Node:
    """See `base.Language`."""

    name: str = "node"
    label: str = "javascript"
    source: str = "JavaScript"
    protected: tuple[str, ...] = ("package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc")
    known: bool = False

    def __init__(self) -> None:
        self._installing = threading.Lock()

    def detect(self, root: Path) -> bool:
        """Whether there is a package.json, and nothing that says it is a Python project with scripts beside it."""
        return (root / "package.json").is_file() and not any((root / name).is_file() for name in OF_PYTHON)

    def about(self, root: Path, package: str = "") -> About:
        """By package.json; the tests are those that its script names, else those that Node finds."""
        found = _package(root)
        name, licence = found.get("name"), found.get("license")
        named = name if isinstance(name, str) and name else root.name
        return About(package or named, licence if isinstance(licence, str) else "", tuple(self.tests(root)))

    def wants(self, root: Path, package: str = "") -> tuple[str, ...]:
        """Dependencies, the lock, and how tests are run."""
        found, lock = _package(root), root / "package-lock.json"
        locked = hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else ""
        return (json.dumps(self._wanted(root, found), sort_keys=True), locked, _script(found))

    def build(self, root: Path, store: Path, date: str = "", package: str = "") -> Built:
        """The tree, and node_modules once for each lock; where there are any, a link in the tree leads to them."""
        found = _package(root)
        script = _script(found)
        if script and not re.search(r"\bnode\b.*--test\b", script):
            raise SourceError(f"its tests run by {script!r}", way_out="only `node --test` is known here")
        node = os.path.realpath(shutil.which("node") or "")
        if not node.startswith("/usr/"):
            raise SourceError("there is no node below /usr", way_out="install it there: boxes see nothing else")
        with self._installing:
            site = npm.modules(root, self._wanted(root, found), store, date)
        recipe = {"kind": "node", "tree": _tree(root, store, bool(site)), "site": site, "edits": [], "scripts": {}}
        options = " ".join(_options(script)[0])
        variables = VARIABLES | ({"NODE_OPTIONS": options} if options else {})
        return Built(Environment(recipe=recipe, work_dir=WORK_DIR, variables=variables), date if site else "")

    def tests(self, root: Path) -> list[str]:
        """Test files: only a run tells what is in them."""
        patterns = _options(_script(_package(root)))[1]
        return [path for path in _files(root) if (_named(path, patterns) if patterns else TEST.search(path))]

    async def run(
        self, box: Sandbox, tests: Sequence[str], seconds: float, *, each: float = 0.0, seed: int = 0
    ) -> Report:
        """All files by one command, each in a process of its own; `seed` is for what is drawn."""
        done = await box.exec(node_tests.words(tests, each, seed + 1), seconds=seconds)
        return self.parse(done.report) if done.ended == "exit" else Report(ended=done.ended)

    def parse(self, data: bytes) -> Report:
        """The reporter's lines."""
        told = node_tests.told(data, WORK_DIR)
        if not told.whole:
            return Report(ended="broken")
        failures = {
            name: f"{LATE} {text.removeprefix(node_tests.TIMED_OUT).strip()}" if node_tests.TIMED_OUT in text else text
            for name, text in told.failures.items()
        }
        return Report(told.tests, failures, {}, told.seconds)

    def is_source(self, path: str) -> bool:
        """By its ending."""
        return path.endswith(ENDINGS)

    def is_test(self, path: str) -> bool:
        """By its name, or because a folder of tests holds it."""
        return bool(TEST.search(path) or TEST_FOLDER.search(path))

    def solution(self, root: Path, code: Sequence[str], package: str = "") -> list[str]:
        """Files that an agent may change, and that are not left out of trees."""
        kept, _ = admissible(dict.fromkeys(code, b""), self.protected)
        there = set(_files(root))
        inside = [path for path in kept if path in there or (not (root / path).exists() and not _left_out(path))]
        return inside if any(self.is_source(path) and not self.is_test(path) for path in inside) else []

    def chosen(self, root: Path, hidden: Mapping[str, str], others: int, package: str = "") -> list[str]:
        """Test files."""
        patterns = _options(_script(_package(root)))[1]
        mine = [path for path in hidden if (_named(path, patterns) if patterns else TEST.search(path))]
        mine = [path for path in mine if self.is_source(path)]
        rest = [path for path in self.tests(root) if path not in hidden]
        return [*mine, *rest[:others]] if mine else []

    def grader(self, ids: Sequence[str]) -> Grader:
        """The files that the ids are of."""
        files = dict.fromkeys(name.removeprefix("node:").partition("::")[0] for name in ids)
        return Grader("f2p_p2p", node_tests.command(list(files)), "node")

    def _wanted(self, root: Path, package: Mapping[str, Any]) -> dict[str, str]:
        """Dependencies, and of those for development what a file of the tests names."""
        tests = "\n".join((root / p).read_text(errors="replace") for p in _files(root) if self.is_test(p))
        needed, dev = npm.listed(package, "dependencies"), npm.listed(package, "devDependencies")
        return {n: v for n, v in dev.items() if re.search(rf"['\"]{re.escape(n)}['\"/]", tests)} | needed


def _script(package: Mapping[str, Any]) -> str:
    """How tests are run: the script `test`, or the script that it calls and that runs `node --test`."""
    scripts = package.get("scripts") if isinstance(package.get("scripts"), dict) else {}
    assert isinstance(scripts, dict)
    texts, waiting = [str(scripts.get("test", ""))], ["test"]
    while waiting:
        for name in re.findall(r"\bnpm (?:run|run-script) ([\w:.-]+)", str(scripts.get(waiting.pop(), ""))):
            if name in scripts and str(scripts[name]) not in texts:
                texts.append(str(scripts[name]))
                waiting.append(name)
    return next((text for text in texts if re.search(r"\bnode\b.*--test\b", text)), texts[0])


def _options(script: str) -> tuple[list[str], list[str]]:
    """Of the call of `node --test` in a script: options for NODE_OPTIONS, and the files that it names."""
    try:
        words = shlex.split(next((x for x in re.split(r"&&|\|\||;|\|", script) if "--test" in x), ""))
    except ValueError:
        return [], []
    words = words[words.index("node") + 1 :] if "node" in words else []
    options: list[str] = []
    files: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if name in PASSED_ON:
            options.append(word if equals else f"{word}{'=' if word.startswith('--') else ' '}{next(rest, '')}")
        elif not word.startswith("-"):
            files.append(word.removeprefix("./"))
    return options, files


def _named(path: str, patterns: Sequence[str]) -> bool:
    """Whether a script's words name a file: by itself, by a folder that holds it, or by a pattern."""
    return path.endswith(ENDINGS) and any(
        fnmatch(path, pattern.replace("**/", "*")) or path.startswith(f"{pattern.rstrip('/')}/") for pattern in patterns
    )


def _left_out(path: str) -> bool:
    return any(part in LEFT_OUT or part.startswith(".") for part in path.split("/"))


def _package(root: Path) -> dict[str, Any]:
    try:
        package = json.loads((root / "package.json").read_text())
        if isinstance(package, dict):
            return package
        cause = "it holds no object"
    except (OSError, ValueError) as error:
        cause = str(error)
    raise SourceError(f"package.json cannot be read: {cause}", way_out="mend that file")


def _files(root: Path) -> list[str]:
    """Regular files of a repository, without what is installed, built or hidden."""
    found = []
    for here, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith(".")]
        paths = [Path(here, name) for name in names if not name.startswith(".")]
        found += [p.relative_to(root).as_posix() for p in paths if not p.is_symlink() and p.stat().st_size <= LARGEST]
    return sorted(found)


def _tree(root: Path, store: Path, linked: bool) -> str:
    """Copy the repository to `store/trees/<hash>`; its name."""
    contents = {path: (root / path).read_bytes() for path in _files(root)}
    digest = hashlib.sha256(LINKED if linked else b"")
    for path, data in sorted(contents.items()):
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    name = digest.hexdigest()[:16]
    if not (store / "trees" / name).is_dir():
        with filling(store / "trees", name) as folder:
            for path, data in contents.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(data)
            if linked:  # modules are looked for in folders above the file that imports them
                (folder / "node_modules").symlink_to(f"{SITE}/node_modules")
    return name
