"""Questions to the graph, its layers, and its upkeep by content."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.agent.graph import answers, text
from repodojo.agent.graph.boxes import BoxGraphs
from repodojo.agent.graph.folder import FolderGraph
from repodojo.agent.graph.graph import CodeGraph, Graph, Layer, imported_by, imports_of
from repodojo.agent.graph.parse import Parser
from repodojo.agent.kit import Kit, toolset
from repodojo.agent.tools import ToolContext
from repodojo.core.errors import SourceError
from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.inference.toolcalls import RawCall
from repodojo.sandbox.fake import FakeSandbox

FILES = {
    "pkg/__init__.py": b"from .shapes import Box\n",
    "pkg/shapes.py": b"from pkg import units\n\nclass Box:\n    def area(self):\n"
    b"        return units.scale(self.w * self.h)\n",
    "pkg/units.py": b"FACTOR = 2\n\ndef scale(x):\n    return x * FACTOR\n",
    "other/units.py": b"def scale(x):\n    return x\n",
    "app.py": b"from pkg.shapes import Box\n\ndef main():\n    return Box().area()\n",
    "web/a.js": b"import { b } from './lib/b'\nexport function a() { return b() }\n",
    "web/lib/b.js": b"export function b() { return 1 }\n",
    "go/srv/main.go": b'package srv\nimport "example.com/x/go/db"\nfunc Main() { db.Open() }\n',
    "go/db/db.go": b"package db\nfunc Open() {}\n",
    "README.md": b"nothing",
}
TASK = Task("t", Source("d"), "i", Environment(recipe={"tree": "T"}), Grader())


def graph_of(files: dict[str, bytes]) -> CodeGraph:
    parser = Parser()
    return CodeGraph({path: facts for path, data in files.items() if (facts := parser.facts(path, data))})


def asked(graph: Graph) -> tuple[object, ...]:
    """All that can be seen of a graph of the names used here."""
    names = ("scale", "Box", "area", "main", "b", "Open", "x", "f", "g")
    paths = [*FILES, "new.py"]
    return (
        sorted(graph.paths()),
        [answers.definitions(graph, name) for name in names],
        [answers.references(graph, name) for name in names],
        [answers.neighbours(graph, name) for name in (*names, *paths)],
        [answers.outline(graph, path) for path in (*paths, ".")],
    )


def test_definitions_by_name_owner_and_path() -> None:
    graph = graph_of(FILES)
    assert [str(p) for p in answers.definitions(graph, "scale")] == [
        "other/units.py:1-2 function scale",
        "pkg/units.py:3-4 function scale",
    ]
    assert [p.path for p in answers.definitions(graph, "pkg/units.py::scale")] == ["pkg/units.py"]
    assert [str(p) for p in answers.definitions(graph, "Box.area")] == ["pkg/shapes.py:4-5 method Box.area"]
    assert answers.definitions(graph, "Other.area") == answers.definitions(graph, "nothing") == []


def test_references_say_what_they_stand_in() -> None:
    uses = answers.references(graph_of(FILES), "Box")
    assert [(u.path, u.line, u.within, u.is_call) for u in uses] == [
        ("app.py", 1, "", False),
        ("app.py", 4, "main", True),
        ("pkg/__init__.py", 1, "", False),
    ]


def test_neighbours_follow_calls_and_prefer_what_is_imported() -> None:
    graph = graph_of(FILES)
    found = answers.neighbours(graph, "Box.area")
    assert found.before == ("app.py::main",)
    assert found.after == ("pkg/units.py::scale",)  # not other/units.py, which nobody imports


def test_imports_are_resolved_in_both_directions() -> None:
    graph = graph_of(FILES)
    assert imports_of(graph, "app.py") == ["pkg/shapes.py"]
    assert imports_of(graph, "web/a.js") == ["web/lib/b.js"] and imported_by(graph, "web/lib/b.js") == ["web/a.js"]
    assert imports_of(graph, "go/srv/main.go") == ["go/db/db.go"]
    assert imported_by(graph, "go/db/db.go") == ["go/srv/main.go"]
    assert imported_by(graph, "pkg/shapes.py") == ["app.py", "pkg/__init__.py"]
    assert imported_by(graph, "pkg/units.py") == ["pkg/shapes.py"] and imported_by(graph, "other/units.py") == []


bodies = st.sampled_from([b"def f():\n    return g()\n", b"def g(): pass\n", b"x = f(1)\n", b"import app\n", b""])
edits = st.dictionaries(st.sampled_from([*FILES, "new.py"]), st.none() | bodies, max_size=5)


@given(st.lists(edits, max_size=3))
def test_a_layer_and_an_updated_graph_are_the_graph_made_anew(steps: list[dict[str, bytes | None]]) -> None:
    parser, files = Parser(), dict(FILES)
    graph, changed = graph_of(FILES), {}
    for step in steps:
        for path, data in step.items():
            facts = None if data is None else parser.facts(path, data)
            graph.put(path, facts)
            changed[path] = facts
            files.pop(path, None)
            if data is not None:
                files[path] = data
    anew = asked(graph_of(files))
    assert asked(graph) == anew
    assert asked(Layer(graph_of(FILES), changed)) == anew


def test_a_folder_reads_again_only_what_changed(tmp_path: Path) -> None:
    for path, data in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/x.js").write_bytes(b"function hidden() {}")
    folder = FolderGraph(tmp_path)
    assert folder.refresh() == 9 and asked(folder.graph) == asked(graph_of(FILES))
    assert folder.refresh() == 0
    (tmp_path / "app.py").write_bytes(FILES["app.py"])  # touched, the same
    assert folder.refresh() == 0
    (tmp_path / "app.py").write_bytes(b"def g(): pass\n")
    (tmp_path / "go/db/db.go").unlink()
    parsed = folder.parser.parsed
    assert folder.refresh() == 2 and folder.parser.parsed == parsed + 1
    files = {**FILES, "app.py": b"def g(): pass\n"}
    del files["go/db/db.go"]
    assert asked(folder.graph) == asked(graph_of(files))
    with pytest.raises(SourceError, match="no folder"):
        FolderGraph(tmp_path / "absent")


async def test_the_graph_of_a_box_follows_its_edits_and_not_anothers() -> None:
    graphs = BoxGraphs()
    first, second = FakeSandbox(FILES), FakeSandbox(FILES)
    await first.write("app.py", b"def renamed():\n    pass\n")
    await first.write("new.py", b"def fresh(): pass\n")
    graph = await graphs.of(TASK, first)
    assert answers.definitions(graph, "renamed") and answers.definitions(graph, "fresh")
    assert asked(await graphs.of(TASK, second)) == asked(graph_of(FILES))
    await first.write("app.py", None)
    assert not answers.definitions(await graphs.of(TASK, first), "renamed")


async def test_tasks_of_one_tree_see_each_its_own_edits() -> None:
    graphs = BoxGraphs()
    for path, name in (("app.py", "one"), ("pkg/units.py", "two")):
        task = Task(name, Source("d"), "i", Environment(recipe={"tree": "T", "edits": [{"path": path}]}), Grader())
        files = {**FILES, path: f"def {name}(): pass\n".encode()}
        assert asked(await graphs.of(task, FakeSandbox(files))) == asked(graph_of(files))


async def test_the_tools_answer_from_the_box_with_its_lines() -> None:
    tools = toolset(Kit(sources=("graph",)))
    context = ToolContext(TASK, FakeSandbox(FILES))

    async def ask(name: str, **arguments: str) -> tuple[str, str]:
        result = await tools.run(*tools.check(RawCall(name, arguments)), context)
        return result.output, result.error

    assert await ask("definition", symbol="Box.area") == (
        "pkg/shapes.py:4-5 method Box.area\n     4\t    def area(self):\n"
        "     5\t        return units.scale(self.w * self.h)",
        "",
    )
    assert await ask("references", symbol="FACTOR") == ("pkg/units.py:4:return x * FACTOR  [in scale]", "")
    assert await ask("outline", path="pkg/shapes.py") == ("     3\tclass Box:\n     4\t  def area(self):", "")
    assert await ask("outline", path="pkg") == ("pkg/shapes.py:3-5 class Box\npkg/units.py:3-4 function scale", "")
    assert await ask("neighbours", symbol="./pkg/units.py") == ("imported by:\n  pkg/shapes.py", "")
    assert await ask("neighbours", symbol="nothing") == ("nothing found", "not-found")


async def test_long_answers_are_bounded() -> None:
    files = {f"f{i}.py": b"def f():\n" + b"    f()\n" * 90 for i in range(9)}
    box = FakeSandbox(files)
    graph = graph_of(files)
    assert (await text.definition(graph, box.read, "f")).count("\n") < 3 * (text.MOST_LINES + 3) + 9
    assert (await text.references(graph, box.read, "f")).endswith(f"[{9 * 90 - text.MOST_USES} more]")
    assert text.outline(graph_of({f"g{i}.py": b"def f(): pass" for i in range(300)}), ".").endswith("[100 more]")
