"""Languages by one interface: detect, build, run tests, parse their report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_package import boxes, write

from repodojo.cli import main
from repodojo.core.errors import SourceError
from repodojo.tasks.languages import LANGUAGES, language_of
from repodojo.tasks.languages.node import Node
from repodojo.tasks.runs import Report

RECORDED = b"""["/testbed/test/sums.test.js",["high"],"pass",false,false,1.08,null]
["/testbed/test/sums.test.js",["clamp","keeps low"],"fail",false,false,1.2,"-1 == 0\\n    at S (node:x)"]
["/testbed/test/sums.test.js",["clamp","later"],"pass",true,false,0.1,null]
["/testbed/test/sums.test.js",["clamp","some day"],"pass",true,false,0.08,null]
["/testbed/test/sums.test.js",["clamp"],"fail",false,true,2.2,"2 subtests failed"]
"end"
"""
"""What the reporter of `node_tests` wrote of the tests below under Node 20.20.2, its stack traces shortened."""
FILES = {
    "package.json": '{"name": "tiny", "type": "module", "scripts": {"test": "node --test"}}',
    "src/sums.js": "export function clamp(x, low, high) {\n  return Math.min(x, high);\n}\n",
    "test/sums.test.js": "import test, { describe, it } from 'node:test';\nimport assert from 'node:assert';\n"
    "import { clamp } from '../src/sums.js';\n"
    "test('high', () => { console.log('<testcase/>'); assert.equal(clamp(9, 0, 3), 3); });\n"
    "describe('clamp', () => {\n  it('keeps low', () => { assert.equal(clamp(-1, 0, 3), 0); });\n"
    "  it.skip('later', () => {});\n  it.todo('some day');\n});\n",
    "node_modules/x/test.js": "",
}
WANTED = {"high": "passed", "clamp > keeps low": "failed", "clamp > later": "skipped", "clamp > some day": "skipped"}
NODE = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed: its run was not tried")


def project(root: Path, **changed: str) -> Path:
    for name, text in {**FILES, **changed}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_folder_tells_its_language(tmp_path: Path) -> None:
    assert language_of(project(tmp_path / "n")).name == "node"
    assert language_of(write(tmp_path / "p")).name == "python"
    assert language_of(tmp_path / "p", "node").name == "node"
    (tmp_path / "p" / "package.json").write_text("{}")  # for its documents, say
    assert language_of(tmp_path / "p").name == "python"
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match="in no language that is known"):
        language_of(tmp_path / "none")
    with pytest.raises(SourceError, match="there is no language 'cobol'"):
        language_of(tmp_path / "n", "cobol")
    assert len({make().name for make in LANGUAGES}) == len(LANGUAGES)


def test_what_node_calls_a_test_is_a_test(tmp_path: Path) -> None:
    names = ("a.test.mjs", "b-test.js", "c_test.cjs", "test-d.js", "test.js", "deep/test/e.js", "contest.js", "test.ts")
    assert Node().tests(project(tmp_path, **dict.fromkeys(names, ""))) == sorted([*names[:6], "test/sums.test.js"])


def test_a_recorded_report_is_read() -> None:
    found = Node().parse(RECORDED)
    assert found.tests == {f"node:test/sums.test.js::{name}": status for name, status in WANTED.items()}
    why = "-1 == 0"
    assert found.failures == {"node:test/sums.test.js::clamp > keeps low": why}
    assert found.seconds["node:test/sums.test.js::high"] == 0.00108
    twice = b'["f.js",["a"],"pass",false,false,1,null]\n["f.js",["a"],"fail",false,false,1,"x"]\n"end"\n'
    assert Node().parse(twice).tests == {"node:f.js::a": "failed"}
    for broken in (b"", b"{", RECORDED[:-7], RECORDED.replace(b'"pass"', b'"pass', 1), b'["f.js"]\n"end"\n'):
        assert Node().parse(broken).ended == "broken"
    late = Node().parse(b'["f.js",["f.js"],"fail",false,false,9,"test timed out after 9ms"]\n"end"\n')
    assert late.late() == {"node:f.js::f.js"}


@pytest.mark.parametrize(
    ("package", "why"),
    [("{", "cannot be read"), ("[]", "no object"), ('{"scripts": {"test": "jest"}}', "tests run by 'jest'")],
)
def test_what_cannot_be_built_has_a_reason(package: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=why):
        Node().build(project(tmp_path / "n", **{"package.json": package}), tmp_path / "s")


@NODE
async def test_node_runs_in_a_box(tmp_path: Path) -> None:
    root, store = project(tmp_path / "n"), tmp_path / "s"
    built = Node().build(root, store)
    environment = built.environment
    assert Node().build(root, store) == built and len(list((store / "trees").iterdir())) == 1
    factory = boxes(store)
    try:
        box = await factory.create(environment)
        found = await Node().run(box, Node().tests(root), 120.0)
        assert found.tests == {f"node:test/sums.test.js::{name}": status for name, status in WANTED.items()}
        await box.write(
            "src/sums.js", b"export function clamp(x, low, high) { return Math.max(low, Math.min(x, high)) }"
        )
        again = await Node().run(box, Node().tests(root), 120.0)
        assert again.tests["node:test/sums.test.js::clamp > keeps low"] == "passed"
        await box.write("src/sums.js", b"syntax error")
        broken: Report = await Node().run(box, Node().tests(root), 120.0)
        assert broken.tests and "passed" not in broken.tests.values()
        await box.close()
    finally:
        await factory.close()


def test_the_command_says_what_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["tasks", "try", str(write(tmp_path / "tiny-1.0")), "--json", "--unisolated"])
    found = json.loads(capsys.readouterr().out)
    assert not stop.value.code and found["language"] == "python"
    assert found["tests"]["pytest:tests/test_sums.py::test_window"] == "passed"
    assert found["tests"]["doctest:tiny/sums.py::clock"] == "failed"
