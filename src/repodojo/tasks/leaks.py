"""Ways in which a task gives its answer away: in the instruction, in the tree, among the dependencies."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from repodojo.core.editing import is_edit
from repodojo.core.records import Task
from repodojo.tasks.features import KINDS, given
from repodojo.tasks.layout import canonical

SHORTEST = 24
"""Characters of a line of the solution that cannot stand in an instruction by chance."""
SEVERAL = 4
HASH = re.compile(r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b")


def in_instruction(task: Task) -> Iterator[str]:
    """Lines of the solution, commit ids and names of hidden tests that the instruction (or hints) spell out."""
    told = task.instruction if is_edit(task) else f"{task.instruction}\n{task.interface}"  # an edit's shows its file
    flat = " ".join(told.split())
    wanted = set(given(task.interface)) if task.labels.get("kind") in KINDS else ()
    for line in _added(task):
        if line.strip() in wanted:  # the signature and the docstring of what is asked for
            continue
        if len(line) >= SHORTEST and " ".join(line.split()) in flat:
            yield f"the instruction holds a line of the solution: {line.strip()[:60]!r}"
            break
    ids = [task.base_commit, str(task.environment.recipe.get("commit", "")), task.labels.get("commit", "")]
    for found in dict.fromkeys(HASH.findall(told)):
        if any(commit.startswith(found) for commit in filter(None, ids)):
            yield f"the instruction names the commit {found}"
    visible = {test_name(name) for name in task.visible_tests}
    for name in dict.fromkeys(map(test_name, task.grader.fail_to_pass)):
        tells = name.startswith("test") or " " in name
        if tells and name not in visible and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", told):
            yield f"the instruction names the hidden test {name}"


def test_name(test: str) -> str:
    """The function's name in an id: "pytest:tests/x.py::TestA::test_b[1]" is "test_b".

    Node's tests are named in words, which an issue may use as well: only names of SEVERAL words count.

    >>> test_name("node:test/a.js::clamp > keeps the lower bound"), test_name("node:test/a.js::clamp")
    ('keeps the lower bound', '')
    """
    if test.startswith("node:"):
        said = test.partition("::")[2].rpartition(" > ")[2]
        return said if len(said.split()) >= SEVERAL else ""
    return test.partition("[")[0].rpartition("::")[2] if "::" in test else ""


def _added(task: Task) -> list[str]:
    """Lines that the solution has and the base has not."""
    if task.gold is None:
        return []
    marks = ("+", "-") if task.gold.direction == "fix" else ("-", "+")
    rows = [row for row in task.gold.patch.splitlines() if row[:4] not in ("+++ ", "--- ")]
    removed = {row[1:].strip() for row in rows if row.startswith(marks[1])}
    return [row[1:] for row in rows if row.startswith(marks[0]) and row[1:].strip() not in removed]


def in_tree(store: Path, task: Task, gold: Mapping[str, bytes | None]) -> Iterator[str]:
    """Repositories, hidden tests, copies of the mended files and installed copies of the package in the box's base."""
    tree = store / "trees" / str(task.environment.recipe["tree"])
    if (tree / ".git").exists() or any(tree.glob("*/.git")):
        yield "the box holds a .git: later commits may be reachable"
    shown = {edit["path"] for edit in task.environment.recipe.get("edits", ())}
    for path, text in task.hidden_files.items():
        if path not in shown and text and (tree / path).is_file() and (tree / path).read_bytes() == text.encode():
            yield f"the box holds the hidden file {path}"
    answers = {_hash(data): path for path, data in gold.items() if data}
    sizes = {len(data) for data in gold.values() if data}
    for found in tree.rglob("*"):
        relative = found.relative_to(tree).as_posix()
        if relative in shown or not found.is_file() or found.stat().st_size not in sizes:
            continue
        if (answer := answers.get(_hash(found.read_bytes()))) and answer != relative:
            yield f"{relative} is what {answer} should become"
    yield from _installed(store, task)


def _installed(store: Path, task: Task) -> Iterator[str]:
    site = str(task.environment.recipe.get("site", ""))
    name = canonical(task.labels.get("package", ""))
    if site and task.language == "javascript":
        told = re.search(
            r'"name":\s*"([^"]+)"', _text(store / "trees" / task.environment.recipe["tree"] / "package.json")
        )
        if told and (store / "sites" / site / "node_modules" / told[1]).is_dir():
            yield f"node_modules/{told[1]} among the dependencies holds another version of the package"
    for folder in (store / "sites" / site).glob("*.dist-info") if site and name else ():
        if canonical(folder.name.partition("-")[0]) == name:
            yield f"{folder.name} among the dependencies holds another version of the package"


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


SCAN = """
import glob, json, os, sys
stale = []
for path in json.loads(sys.argv[1]):
    folder, name = os.path.split(path)
    stale += glob.glob(os.path.join(folder, "__pycache__", glob.escape(name[:-3]) + ".*.pyc"))
git = [x for x in (".git", "../.git") if os.path.exists(x)]
print(json.dumps({"stale": stale, "git": git}))
"""
"""What a box is asked: byte code of files that the task changed, and a repository."""


def in_box(said: Mapping[str, list[str]]) -> Iterator[str]:
    """What the answer to `SCAN` gives away."""
    for path in said["stale"]:
        yield f"the box holds stale byte code: {path}"
    for path in said["git"]:
        yield f"the box holds {path}: later commits may be reachable"
