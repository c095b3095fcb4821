"""From a package to tasks, through the same code as the command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from tiny_package import MODULE, boxes, quiet, write

from repodojo.core.errors import TaskError
from repodojo.tasks.make import Options
from repodojo.tasks.session import Line, make_all
from repodojo.tasks.store import TaskStore

DEFAULTS = Options()


def make(sources: list[str], store: Path, options: Options = DEFAULTS) -> list[Line]:
    return asyncio.run(make_all(sources, store, options, boxes, lambda source: quiet))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TaskStore:
    folder = tmp_path_factory.mktemp("tiny")
    root = write(folder / "tiny-1.0")
    with tarfile.open(folder / "tiny-1.0.tar.gz", "w:gz") as tar:
        tar.add(root, "tiny-1.0")
    lines = make([str(folder / "tiny-1.0.tar.gz")], folder / "store", Options(per_function=20))
    assert lines[0].error is None
    return TaskStore(folder / "store")


def test_tasks_come_from_tested_functions_only(store: TaskStore) -> None:
    functions = {task.focus[0] for task in store.tasks()}
    assert functions == {"tiny/sums.py::clamp", "tiny/sums.py::mean", "tiny/sums.py::window"}
    assert len({task.labels["kind"] for task in store.tasks()}) >= 6


def test_a_task_shows_the_symptom_and_hides_the_answer(store: TaskStore) -> None:
    for task in store.tasks():
        assert task.instruction.startswith(f"`{task.focus[0].partition('::')[2]}` in tiny/sums.py ")
        assert task.instruction.endswith("Run `repro` to see it fail.\n")
        assert task.labels["kind"] not in task.instruction
        assert len(task.instruction.splitlines()) <= 14
        assert task.gold and task.gold.direction == "fix"
        assert set(task.visible_tests) <= set(task.grader.fail_to_pass)


def test_what_flickers_is_never_counted(store: TaskStore) -> None:
    ids = {i for task in store.tasks() for i in (*task.grader.fail_to_pass, *task.grader.pass_to_pass)}
    assert not any("clock" in name for name in ids)


def test_hidden_tests_are_not_in_the_agents_tree(store: TaskStore) -> None:
    tree = store.path / "trees" / store.tasks()[0].environment.recipe["tree"]
    assert (tree / "tests" / "test_sums.py").read_text() == ""
    clamp = next(task for task in store.tasks() if task.focus[0].endswith("clamp"))
    assert "test_clamp_inside" in clamp.hidden_files["tests/test_sums.py"]
    assert "test_window" not in clamp.hidden_files["tests/test_sums.py"]
    window = next(task for task in store.tasks() if task.focus[0].endswith("window"))
    shown = [edit["text"] for edit in window.environment.recipe["edits"] if edit["path"].startswith("tests/")]
    assert len(shown) == 1 and shown[0].count("def test_") == 1


async def test_the_visible_command_fails_on_the_bug_and_passes_on_the_gold(store: TaskStore) -> None:
    factory = boxes(store.path)
    try:
        for task in {t.focus[0]: t for t in store.tasks()}.values():
            box = await factory.create(task.environment)
            before = await box.exec(["repro"], warm=True)
            for path, data in store.gold_changes(task).items():
                await box.write(path, data)
            after = await box.exec(["repro"], warm=True)
            await box.close()
            assert before.exit_code == 1
            assert before.output.decode().strip() in task.instruction
            assert (after.exit_code, after.output) == (0, b"1 passed\n")
    finally:
        await factory.close()


def test_the_manifest_says_where_it_came_from(store: TaskStore) -> None:
    entry = json.loads((store.path / "manifest.json").read_text())["packages"]["tiny"]
    assert (entry["licence"], entry["split"], entry["source"]) == ("MIT", "train", "tiny==1.0")
    assert entry["tasks"] == len(store.tasks()) and entry["revision"].startswith("sha256:")
    assert sorted(p.name for p in store.path.iterdir()) == ["manifest.json", "tasks.jsonl", "trees"]


def test_made_again_nothing_is_doubled_and_another_split_is_refused(store: TaskStore, tmp_path: Path) -> None:
    before = len(store.tasks())
    root = write(tmp_path / "tiny-1.0")
    line = make([str(root)], store.path, Options(split="held-out"))[0]
    assert isinstance(line.error, TaskError) and "already in the split 'train'" in str(line.error)
    other = write(tmp_path / "other-1.0")
    (other / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: tiny-two\nVersion: 1.0\n")
    line = make([str(other)], store.path, Options(split="held-out"))[0]
    assert line.error is not None and line.made.funnel["functions in another split"] == 3
    assert len(TaskStore(store.path).tasks()) == before


@pytest.mark.parametrize(
    ("module", "tests", "message"),
    [
        ("def f():\n    return 1\n", "", "has no tests"),
        ('def f():\n    """\n    >>> f()\n    2\n    """\n    return 1\n', "", "passes before any change"),
        (MODULE.replace("import time", "raise OSError"), "import nothing_like_it\ndef test_x(): pass\n", ""),
    ],
)
def test_packages_that_cannot_be_used(tmp_path: Path, module: str, tests: str, message: str) -> None:
    root = write(tmp_path / "tiny-1.0", module, tests)
    line = make([str(root)], tmp_path / "store", Options(limit=3))[0]
    if message:
        assert line.error is not None and message in str(line.error) and line.error.way_out
        assert not (tmp_path / "store").exists()
    else:
        assert line.error is None and line.added == 3


@pytest.mark.parametrize("source", ["no/such/thing", "file:///no/such/repository.git"])
def test_sources_that_are_not_there(tmp_path: Path, source: str) -> None:
    line = make([source], tmp_path / "store")[0]
    assert line.error is not None and line.error.way_out
    assert not (tmp_path / "store").exists()


def test_a_folder_without_python(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("no code")
    line = make([str(tmp_path / "notes")], tmp_path / "store")[0]
    assert "no Python package" in str(line.error)


def test_a_git_repository(tmp_path: Path) -> None:
    root = write(tmp_path / "tiny")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], cwd=root, check=True)
    line = make([str(root)], tmp_path / "store", Options(limit=2))[0]
    assert line.error is None and line.added == 2
    task = TaskStore(tmp_path / "store").tasks()[0]
    assert len(task.base_commit) == 40 and task.repo == str(root)
