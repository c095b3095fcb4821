"""JavaScript by Node: npm installs, Node's own test runner tests, its JUnit report is read.

What a test file prints cannot reach the report, but the code under test runs in the process that reports: enough to see
what passes, not enough to pay for it. Tasks from Node repositories are therefore not made yet.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from repodojo.core.errors import SourceError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import Environment
from repodojo.sandbox.local.boxroot import SITE
from repodojo.tasks.environment import WORK_DIR, filling
from repodojo.tasks.runs import Report

TEST = re.compile(r"(^|/)(test/.*|test|test-[^/]*|[^/]*[._-]test)\.[cm]?js$")
"""The files that `node --test` takes by itself."""
LEFT_OUT = {"node_modules", ".git", "coverage", "dist", "build"}
LARGEST = 400_000
REPORT = "/tmp/report.xml"
QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional", "--loglevel=error")
VARIABLES = {"NODE_ENV": "test", "TZ": "UTC", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}


class Node:
    """See `base.Language`."""

    name = "node"

    def detect(self, root: Path) -> bool:
        """Whether there is a package.json."""
        return (root / "package.json").is_file()

    def build(self, root: Path, store: Path, date: str = "") -> Environment:
        """The tree, and node_modules once for each lock; where there are any, a link in the tree leads to them."""
        package = _package(root)
        script = str(package.get("scripts", {}).get("test", ""))
        if script and not re.search(r"\bnode\b.*--test\b", script):
            raise SourceError(f"its tests run by {script!r}", way_out="only `node --test` is known here")
        node = os.path.realpath(shutil.which("node") or "")
        if not node.startswith("/usr/"):
            raise SourceError("there is no node below /usr", way_out="install it there: boxes see nothing else")
        site = _modules(root, package, store, date)
        recipe = {"kind": "node", "tree": _tree(root, store, bool(site)), "site": site, "edits": [], "scripts": {}}
        return Environment(recipe=recipe, work_dir=WORK_DIR, variables=VARIABLES)

    def tests(self, root: Path) -> list[str]:
        """Test files: only a run tells what is in them."""
        return [path for path in _files(root) if TEST.search(path)]

    async def run(self, box: Sandbox, tests: Sequence[str], seconds: float) -> Report:
        """A process for each file, one after the other: the report does not say which file a test is of."""
        found = Report()
        for file in tests:
            words = ("node", "--test", "--test-reporter=junit", f"--test-reporter-destination={REPORT}", file)
            done = await box.exec(words, seconds=seconds)
            if done.ended != "exit":
                name = f"node:{file}"
                part = Report({name: "error"}, {name: f"the run ended by {done.ended}"}, ended=done.ended)
            else:
                part = self.parse(await _read(box), file)
                await box.write(REPORT, b"")
            tests_, failures = {**found.tests, **part.tests}, {**found.failures, **part.failures}
            found = Report(tests_, failures, {}, {**found.seconds, **part.seconds}, found.ended or part.ended)
        return found

    def parse(self, data: bytes, file: str = "") -> Report:
        """JUnit XML as Node writes it. Ids are `node:FILE::SUITE > TEST`; one that comes twice passed if both did."""
        tests: dict[str, str] = {}
        failures: dict[str, str] = {}
        seconds: dict[str, float] = {}
        try:
            root = ElementTree.fromstring(data)
        except ElementTree.ParseError as error:
            return Report({f"node:{file}": "error"}, {f"node:{file}": f"no report: {error}"}, ended="broken")
        for names, case in _cases(root, ()):
            name = f"node:{file}::{' > '.join(names)}"
            status = "failed" if case.find("failure") is not None else "passed"
            status = "skipped" if case.find("skipped") is not None else status
            tests[name] = status if tests.get(name, "passed") == "passed" else tests[name]
            seconds[name] = float(case.get("time") or 0)
            if status == "failed":
                failures.setdefault(name, case.get("failure") or "failed")
        return Report(tests, failures, {}, seconds)


def _cases(node: ElementTree.Element, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], ElementTree.Element]]:
    for child in node:
        if child.tag == "testsuite":
            yield from _cases(child, (*names, child.get("name") or ""))
        elif child.tag == "testcase":
            yield (*names, child.get("name") or ""), child


async def _read(box: Sandbox) -> bytes:
    try:
        return await box.read(REPORT)
    except OSError:
        return b""


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
    digest = hashlib.sha256(b"node_modules" if linked else b"")
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


def _wanted(root: Path, package: dict[str, Any]) -> dict[str, str]:
    """Dependencies, and of those for development what a test file names; paths of files made absolute."""
    sources = "\n".join((root / path).read_text(errors="replace") for path in _files(root) if TEST.search(path))
    dev = {
        n: v for n, v in package.get("devDependencies", {}).items() if re.search(rf"['\"]{re.escape(n)}['\"/]", sources)
    }
    wanted = {**dev, **package.get("dependencies", {})}
    return {n: f"file:{(root / v[5:]).resolve()}" if str(v).startswith("file:") else str(v) for n, v in wanted.items()}


def _modules(root: Path, package: dict[str, Any], store: Path, date: str) -> str:
    """Install to `store/sites/<hash of the lock>`, as of a day; "" where nothing is needed."""
    wanted = _wanted(root, package)
    if not wanted:
        return ""
    if not shutil.which("npm"):
        raise SourceError("npm is not installed", way_out="install Node with npm")
    with tempfile.TemporaryDirectory(prefix="repodojo-npm-") as scratch:
        folder = Path(scratch)
        (folder / "package.json").write_text(json.dumps({"name": "box", "version": "0.0.0", "dependencies": wanted}))
        if (root / "package-lock.json").is_file():
            shutil.copy(root / "package-lock.json", folder)
        _npm(folder, "install", "--package-lock-only", *([f"--before={date}T23:59:59Z"] if date else []))
        lock = (folder / "package-lock.json").read_text()
        version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
        name = hashlib.sha256(f"{version}\n{lock}".encode()).hexdigest()[:16]
        if not (store / "sites" / name).is_dir():
            with filling(store / "sites", name) as site:
                for file in ("package.json", "package-lock.json"):
                    shutil.copy(folder / file, site)
                _npm(site, "ci")
    return name


def _npm(folder: Path, verb: str, *words: str) -> None:
    done = subprocess.run(["npm", verb, *QUIET, *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [x.removeprefix("npm ").removeprefix("error ") for x in done.stderr.splitlines() if x.strip()]
        why = next((x for x in lines if not x.startswith(("code", "errno"))), "npm gave no reason")
        raise SourceError(f"npm {verb} failed: {why[:300]}", way_out="check the network and package.json")
