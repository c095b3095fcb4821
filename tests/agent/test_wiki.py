"""Pages about a repository, on disk and in a box."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repodojo.agent.kit import Kit, toolset
from repodojo.agent.tools import ToolContext
from repodojo.cli import main
from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.inference.toolcalls import RawCall
from repodojo.sandbox.fake import FakeSandbox

FILES = {
    "pkg/a.py": b"import pkg.b\n\ndef toCamel():\n    pass\n\ndef snake_case():\n    pass\n\nclass Thing:\n    pass\n",
    "pkg/b.py": b"LIMIT = 1\n",
    "tests/test_a.py": b"def test_it():\n    pass\n",
    "pyproject.toml": b"[tool.pytest.ini_options]\n",
    "package.json": b'{"scripts": {"test": "jest"}}',
    "Makefile": b"all:\n\ntest:\n\tpytest\n",
}


def test_pages_tell_layout_modules_conventions_and_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, data in FILES.items():
        (tmp_path / "r" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "r" / path).write_bytes(data)
    with pytest.raises(SystemExit) as end:
        main(["wiki", str(tmp_path / "r"), "-o", str(tmp_path / "w"), "--json"])
    assert end.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["files"] == 3
    assert found["pages"] == ["conventions", "index", "modules/pkg", "modules/tests", "testing"]
    text = {name: (tmp_path / "w" / f"{name}.md").read_text() for name in found["pages"]}
    assert "- python: 3 files, 13 lines" in text["index"] and "(modules/pkg.md): 2 files" in text["index"]
    assert "`class Thing:` (class, line 9)" in text["modules/pkg"] and "Imports: pkg/b.py" in text["modules/pkg"]
    assert "- python function (3): snake_case 67%, camelCase 33%" in text["conventions"]
    for command in ("make test", "python -m pytest", "npm test"):
        assert f"`{command}`" in text["testing"]
    assert "## Test files (1)" in text["testing"]


async def test_an_agent_reads_pages_of_its_own_box() -> None:
    tools = toolset(Kit(sources=("wiki",)))
    task = Task("t", Source("d"), "i", Environment(), Grader())
    context = ToolContext(task, FakeSandbox(FILES))

    async def page(name: str) -> str:
        return (await tools.run(*tools.check(RawCall("wiki", {"page": name})), context)).output

    assert (await page("testing")).startswith("# How to test") and "class Thing" in await page("modules/pkg.md")
    assert "there are index, conventions" in await page("nothing")
