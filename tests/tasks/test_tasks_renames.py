"""Unfinished renames: what they reach in three languages, what they pass by, and the command that makes them."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from pathlib import Path

import pytest
from tiny_package import quiet

from repodojo.cli import main
from repodojo.core.editing import END, START, edit_of, expected, unchanged
from repodojo.core.errors import SourceError
from repodojo.core.records import Task
from repodojo.rewards.edem import edem
from repodojo.tasks.edits.excerpt import Bounds
from repodojo.tasks.edits.names import Body, bodies
from repodojo.tasks.edits.renames import Options, make
from repodojo.tasks.store import TaskStore

PYTHON = '''
import os


def measure(size, *, scale=1, rest=()):
    """The size, scaled; a size below 0 is an error."""
    if size < 0:
        raise ValueError(f"no size is {size:+}")
    other = Box(size=size).size * scale
    return [size for _ in rest] + [other + size]


def count(names):
    global total
    total = 0
    for name in names:
        total += len(name)
    return total
'''
C = """
static int add_all(const int *items, int count) {
    int sum = 0;
    for (int i = 0; i < count; i++) {
        sum += items[i] + box->sum;
    }
    return sum;
}
"""
SCRIPT = """
function greet(person, times) {
  const line = person.line + times;
  const short = { times, line: line };
  return line.repeat(times) + short.line;
}
"""
SMALL = Bounds((10, 900), (5, 300), 2)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source") / "mixed"
    root.mkdir()
    for name, text in {"m.py": PYTHON, "a.c": C, "s.js": SCRIPT, "LICENSE": "Apache License\nVersion 2.0"}.items():
        (root / name).write_text(text)
    (root / "odd.py").write_bytes(b"def f(x):\n    return x, '\xff'\n")
    return root


@pytest.fixture(scope="module")
def tasks(package: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    store = TaskStore(tmp_path_factory.mktemp("made") / "s", create=True)
    funnel = asyncio.run(make(str(package), store, Options(bounds=SMALL, per_function=9), quiet))
    assert funnel["files left out"] == 1 and funnel["functions"] == 4
    return list(TaskStore(store.path).tasks())


def names(body: Body) -> dict[str, int]:
    return {name.text: len(name.places) for name in body.names}


def test_a_name_is_found_wherever_it_stands_and_nowhere_else() -> None:
    measure, count = bodies("python", PYTHON.encode())
    assert names(measure) == {"size": 6, "scale": 2, "rest": 2, "other": 2}  # no keyword, attribute or docstring
    assert names(count) == {"names": 2, "name": 2}  # total is global
    [add] = bodies("c", C.encode())
    assert names(add) == {"items": 2, "count": 2, "sum": 3, "i": 4}
    [greet] = bodies("javascript", SCRIPT.encode())
    assert names(greet) == {"person": 2, "line": 3, "short": 2}  # times is a key of an object, too


def test_bytes_and_not_characters_are_counted() -> None:
    text = "def f(größe):\n    # ä\n    return 'é', größe\n"
    [body] = bodies("python", text.encode())
    [name] = body.names
    assert [text.encode()[start:end].decode() for _, start, end in name.places] == ["größe"] * 2


def test_the_answer_is_the_rest_of_the_rename(tasks: list[Task]) -> None:
    assert {task.language for task in tasks} == {"python", "c", "javascript"} and len(tasks) >= 9
    for task in tasks:
        edit, wanted = edit_of(task), expected(task)
        old, new = renamed(task)
        assert re.search(rf"\b{old}\b", unchanged(task)) and re.search(rf"\b{new}\b", wanted)
        assert unchanged(task).count("\n") == wanted.count("\n")
        assert edem(wanted, wanted) == (1.0, 1.0) and 0 < edem(unchanged(task), wanted)[0] < 1
        assert re.sub(rf"\b{new}\b", old, wanted) == unchanged(task), task.id  # nothing else is changed
        assert edit.text().count(START) == edit.text().count(END) == 1 and wanted not in edit.text()
        assert task.labels["kind"] == "rename" and task.licence == "Apache-2.0"


def renamed(task: Task) -> tuple[str, str]:
    """Both names, as the first edit tells them."""
    [before], [after] = (re.findall(rf"^[{sign}](.*)$", task.hints, re.MULTILINE) for sign in "-+")
    words = ([*re.findall(r"\w+", row)] for row in (before, after))
    [pair] = {(a, b) for a, b in zip(*words, strict=True) if a != b}
    return pair


def test_the_whole_rename_is_the_same_program(tasks: list[Task]) -> None:
    task = next(t for t in tasks if t.language == "python" and renamed(t)[0] == "other")
    old, new = renamed(task)
    done = edit_of(task).excerpt.replace(unchanged(task), expected(task))
    rows = [row for row in done.split("\n") if not row.startswith(("```", "<|"))]
    found = ast.parse("\n".join(rows)[: "\n".join(rows).index("def count")])
    sound = ast.parse(PYTHON[: PYTHON.index("def count")].replace(old, new))
    assert ast.dump(found) == ast.dump(sound)


def test_the_same_seed_draws_the_same(package: Path, tasks: list[Task], tmp_path: Path) -> None:
    for seed, same in ((0, True), (1, False)):
        store = TaskStore(tmp_path / str(seed), create=True)
        asyncio.run(make(str(package), store, Options(bounds=SMALL, per_function=9, seed=seed), quiet))
        assert ({t.id for t in store.tasks()} == {t.id for t in tasks}) == same


def test_what_cannot_be_made_is_said(package: Path, tmp_path: Path) -> None:
    store = TaskStore(tmp_path / "s", create=True)
    with pytest.raises(SourceError, match="no rename could be made"):
        asyncio.run(make(str(package), store, Options(), quiet))  # all of it is shorter than the default sizes


def test_the_command(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tasks", "make", str(package), "--renames", "-o", str(tmp_path / "s"), "--json"]
    sizes = ["--min-input", "10", "--max-input", "900", "--min-output", "5", "--languages", "c,python"]
    with pytest.raises(SystemExit) as ended:
        main([*words, *sizes])
    assert ended.value.code == 0
    funnel = json.loads(capsys.readouterr().out)["funnel"]
    assert funnel["language: c"] > 0
    assert {task.language for task in TaskStore(tmp_path / "s").tasks()} == {"c", "python"}
    for wrong, said in (("--languages=rust", "rust"), ("--max-hunk=3", "--max-hunk"), ("--edits", "both")):
        with pytest.raises(SystemExit) as ended:
            main([*words, wrong])
        assert ended.value.code == 2 and said in capsys.readouterr().err
