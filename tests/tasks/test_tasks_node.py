"""Tasks from the commits of a Node repository, by the command, and what their grader refuses to pay."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tiny_history import Git
from tiny_package import boxes, quiet
from tiny_runs import graded

from repodojo.cli import main
from repodojo.core.records import Task
from repodojo.rewards.plain import forges
from repodojo.rewards.plain_js import forbidden
from repodojo.tasks import leaks
from repodojo.tasks.gold import gold_changes
from repodojo.tasks.history.make import Options, walk
from repodojo.tasks.history.settle import settle
from repodojo.tasks.languages.node import Node, _options, _script
from repodojo.tasks.store import TaskStore
from repodojo.tasks.validate import tree_intact

NODE = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed: its runner was not tried")
PACKAGE = {"name": "@tiny/sums", "type": "module", "license": "MIT", "scripts": {"test": "node --test"}}
CODE = """export function clamp(x, low, high) {
  return Math.min(x, high);
}
"""
FIXED = CODE.replace("Math.min(x, high)", "Math.max(low, Math.min(x, high))")
TESTS = """import test from 'node:test';
import assert from 'node:assert';
import { clamp } from '../src/sums.js';

test('high', () => { assert.equal(clamp(9, 0, 3), 3); });
test('the middle stays what it is', async (t) => {
  await t.test('in steps', () => {});
  assert.equal(clamp(2, 0, 3), 2);
});
"""
LOW = "test('low numbers go to the bound', () => { assert.equal(clamp(-1, 0, 3), 0); });\n"
TRIPLE = "import test, { describe, it } from 'node:test';\nimport assert from 'node:assert';\n"
TRIPLE += "import { triple } from '../src/sums.js';\n"
TRIPLE += "describe('triple', () => { it('of two', () => { assert.equal(triple(2), 6); });\n"
TRIPLE += "  it('by luck', () => { assert.ok(triple(1) && Math.random() < 0.2); }); });\n"
FLAGS = ("--sure", "2", "--json", "--unisolated")
FUNNEL = {
    "commits seen": 7,
    "commits kept": 4,
    "lost: first commit": 1,
    "lost: no JavaScript changed": 1,
    "lost: documents or tests only": 1,
    "built": 4,
    "validated": 2,
    "lost: no test turns green": 1,
    "lost: a test that passed fails afterwards": 1,
}


def history(root: Path) -> dict[str, str]:
    """Seven commits; their ids by what they are."""
    git, ids = Git(root), dict[str, str]()
    start = {"package.json": json.dumps(PACKAGE), "src/sums.js": CODE, "test/sums.test.js": TESTS}
    ids["first"] = git.commit("Begin", start)
    message = "Keep numbers above the lower bound (#7)\n\nSee test/sums.test.js: low numbers go to the bound."
    ids["fix"] = git.commit(message, {"src/sums.js": FIXED, "test/sums.test.js": TESTS + LOW})
    git.commit("Say more about it", {"README.md": "more\n", "package-lock.json": "{}\n"})
    git.commit("Name a style", {".prettierrc": "{}\n", "types.d.ts": "export {}\n", "test/x.test.js": ""})
    feature = FIXED + "\nexport function triple(x) {\n  return 3 * x;\n}\n"
    ids["feature"] = git.commit("Add a triple of numbers", {"src/sums.js": feature, "test/triple.test.js": TRIPLE})
    same = feature.replace("3 * x", "x * 3")
    git.commit("Turn a product around", {"src/sums.js": same, "test/sums.test.js": TESTS + LOW + "// all\n"})
    broken = same.replace("Math.max(low,", "Math.max(low + 1,")
    git.commit(
        "Raise the lower bound by one", {"src/sums.js": broken, "test/sums.test.js": TESTS + LOW + LOW[:0] + "\n"}
    )
    return ids


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("node") / "sums"
    return root, history(root)


@pytest.fixture(scope="module")
def store(repository: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set as the command makes it."""
    out = tmp_path_factory.mktemp("made") / "s"
    assert not run("tasks", "make", str(repository[0]), "--from", "history", "-o", str(out), *FLAGS)
    return out


def task_of(store: Path, commit: str) -> Task:
    return next(task for task in TaskStore(store).tasks() if task.labels["commit"] == commit)


def test_the_walk_needs_no_node(repository: tuple[Path, dict[str, str]]) -> None:
    walked = {name: n for name, n in FUNNEL.items() if name.startswith("commits") or n == 1}
    found = walk(str(repository[0]), Options(), quiet)
    assert found["commits seen"] == 7 and found["commits kept"] == 4 and found.items() <= walked.items()
    assert walk(str(repository[0]), Options(language="node"), quiet) == found


@NODE
def test_every_commit_has_its_fate(
    store: Path, repository: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert not run("tasks", "make", str(repository[0]), "--from", "history", "-o", str(store), *FLAGS)
    [line] = capsys.readouterr().out.splitlines()[-1:]
    assert json.loads(line)["funnel"] == {**FUNNEL, "decided before": 4}


@NODE
def test_a_fix_becomes_a_task(store: Path, repository: tuple[Path, dict[str, str]]) -> None:
    task = task_of(store, repository[1]["fix"])
    assert task.grader.fail_to_pass == ("node:test/sums.test.js::low numbers go to the bound",)
    kept = {f"node:test/sums.test.js::{name}" for name in ("high", "the middle stays what it is")}
    assert set(task.grader.pass_to_pass) == kept | {f"{max(kept)} > in steps"}
    assert (task.language, task.licence, task.labels["package"]) == ("javascript", "MIT", "tiny-sums")
    assert "package.json" in task.protected and "test/sums.test.js" in task.protected
    said, _, shown = task.instruction.partition("\n\nIt now fails like this:\n")
    assert said.startswith("Keep numbers above the lower bound\n") and "-1 == 0" in shown
    for word in ("#7", "sums.test.js", "low numbers go to the bound", "node:internal"):
        assert word not in task.instruction
    assert list(leaks.in_instruction(task)) == []


@NODE
def test_what_flickers_is_dropped(store: Path, repository: tuple[Path, dict[str, str]]) -> None:
    task = task_of(store, repository[1]["feature"])
    assert task.grader.fail_to_pass == ("node:test/triple.test.js::triple > of two",)
    assert task.validation.flaky == ("node:test/triple.test.js::triple > by luck",)
    assert "does not provide an export named 'triple'" in task.instruction


@NODE
def test_the_set_is_valid_as_it_is(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not run("tasks", "validate", str(store), "--json", "--unisolated")
    assert TaskStore(store).manifest["validation"]["fates"] == {"sound": 2}
    tree = store / "trees" / TaskStore(store).tasks()[0].environment.recipe["tree"]
    assert tree_intact(tree)
    (tree / "more.js").write_bytes(b"")
    assert not tree_intact(tree)
    (tree / "more.js").unlink()


FORGED = {
    "an early end": "process.exit(0);\n",
    "an end without its name": "[].constructor.constructor('return process')().exit(0);\n",
    "a test of the same name": "import t from 'node:test';\nt('low numbers go to the bound', () => {});\n",
    "an assertion that holds": "import assert from 'node:assert';\nassert.equal = () => {};\n",
    "a frame for the runner": "import fs from 'node:fs';\nfs.writeSync(1, Buffer.from([255, 15]));\n",
}


@NODE
@pytest.mark.parametrize("name", ["an early end", "a test of the same name", "an assertion that holds"])
def test_forgeries_are_not_paid(name: str, store: Path, repository: tuple[Path, dict[str, str]]) -> None:
    task = task_of(store, repository[1]["fix"])
    assert graded(store, task, {"src/sums.js": (FORGED[name] + CODE).encode()}).value == 0.0


def test_forgeries_beside_the_solution_are_seen() -> None:
    """A change that mends the code and forges as well is not paid either: nobody could tell the two apart."""
    assert not forges("src/sums.js", FIXED.encode(), CODE.encode())
    for text in FORGED.values():
        assert forges("src/sums.js", (text + FIXED).encode(), CODE.encode())
    assert not forges("src/sums.js", None, CODE.encode()) and not forges("notes.txt", b"process.exit()", b"")


@NODE
def test_what_is_not_whole_is_not_paid(store: Path, repository: tuple[Path, dict[str, str]]) -> None:
    task = task_of(store, repository[1]["fix"])
    gold = gold_changes(store, task)
    assert graded(store, task, gold).value == 1.0
    assert graded(store, task, {**gold, "package.json": b'{"scripts": {"test": "true"}}'}).parts["refused"] == 1.0
    assert graded(store, task, {"src/sums.js": None}).value == 0.0
    worse = FIXED.replace("Math.max(low, Math.min(x, high))", "x < low ? low : high")  # the outer test alone sees it
    assert graded(store, task, {"src/sums.js": worse.encode()}).parts["p2p"] == 2 / 3


def test_ids_that_only_a_run_tells_are_settled_like_others() -> None:
    """`late` is first reported in the second round, and `gone` never again."""

    async def once(mended: bool, seed: int) -> dict[str, str]:
        said = {"red": "passed" if mended else "failed", "green": "passed", "broken": "failed" if mended else "passed"}
        return said | ({"late": "passed"} if seed else {"gone": "passed"})

    found = asyncio.run(settle((), once, sure=2))
    assert (found.red, found.green, found.broken) == (("red",), ("green",), ("broken",))
    assert set(found.flaky) == {"late", "gone"} and found.rounds == 4


@pytest.mark.parametrize(
    ("after", "found"),
    [
        ("let x = require('node:path')", ()),
        ("a.prototype.b = [1][i + 1]; class A { constructor() {} }", ()),
        ("this['pro' + 'cess']", ("a name in pieces",)),
        ("const { process: p } = y", ("process",)),
        ("const { process } = y", ("process",)),
        ("x['constructor']", ("constructor",)),
        ("Array.prototype.map = 1; Object.assign(JSON, {})", ("Array changed", "JSON changed")),
        ("require(name); await import('fs').then()", ("fs", "require of a computed name")),
        ("const load = require; require.cache", ("require", "require")),
        ("export * from 'vm'", ("vm",)),
        ("(", ("does not parse",)),
    ],
)
def test_what_a_change_may_not_add(after: str, found: tuple[str, ...]) -> None:
    assert tuple(forbidden("", after)) == tuple(dict.fromkeys(found))
    assert forbidden(after, after) == ()


def test_scripts_tell_how_tests_run() -> None:
    scripts = {
        "test": "npm run lint && npm run unit",
        "lint": "eslint .",
        "unit": "c8 node -r ./a.js --test 'x/**/*.js'",
    }
    assert _script({"scripts": scripts}) == scripts["unit"]
    assert _script({"scripts": {"test": "npm run test"}}) == "npm run test" and _script({}) == ""
    assert _options(scripts["unit"]) == (["-r ./a.js"], ["x/**/*.js"])
    assert _options("eslint . && node --test --import=tsx ./t") == (["--import=tsx"], ["t"])
    assert _options("node --test 'x") == ([], [])


def test_the_script_names_the_tests(tmp_path: Path) -> None:
    package: dict[str, Any] = {"scripts": {"test": "node --test 'checks/**/*.js' one.js"}}
    for name in ("checks/a.js", "checks/b/c.js", "one.js", "two.test.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "package.json").write_text(json.dumps(package))
    assert Node().tests(tmp_path) == ["checks/a.js", "checks/b/c.js", "one.js"]
    assert Node().chosen(tmp_path, {"two.test.js": ""}, 9) == []
    assert Node().chosen(tmp_path, {"one.js": ""}, 1) == ["one.js", "checks/a.js"]


@NODE
def test_dependencies_are_a_layer_behind_a_link(tmp_path: Path) -> None:
    """A dependency that is an archive beside it, so that no registry is asked."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    root, made = tmp_path / "n", tmp_path / "s"
    one = {"package.json": b'{"name": "one", "version": "1.0.0", "main": "i.js"}', "i.js": b"module.exports = 1;\n"}
    root.mkdir()
    with tarfile.open(root / "one-1.0.0.tgz", "w:gz") as archive:
        for name, data in one.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    package = {"name": "two", "dependencies": {"one": "file:one-1.0.0.tgz"}}
    (root / "package.json").write_text(json.dumps(package))
    (root / "test.js").write_text("require('node:assert').equal(require('one'), 1);\n")
    built = Node().build(root, made)
    listed = made / "sites" / f"{built.environment.recipe['site']}.txt"
    assert listed.read_text().splitlines()[1:] == ["one@1.0.0"]

    async def once() -> Mapping[str, str]:
        factory = boxes(made)
        try:
            box = await factory.create(built.environment)
            return (await Node().run(box, ["test.js"], 60.0)).tests
        finally:
            await factory.close()

    assert asyncio.run(once()) == {"node:test.js::test.js": "passed"}
    assert tree_intact(made / "trees" / built.environment.recipe["tree"])
