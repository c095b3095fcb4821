"""The store: what stops half-way, what is malformed, what a person is told."""

from __future__ import annotations

import asyncio
import errno
import json
from pathlib import Path

import pytest
from tiny_package import boxes, write

from repodojo.cli import main
from repodojo.core.errors import TaskError, UserError
from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.tasks.make import Options
from repodojo.tasks.session import _STAGING, make_all
from repodojo.tasks.store import TaskStore, disk_errors


def task(name: str) -> Task:
    return Task(name, Source("a==1"), "do", Environment(), Grader(), labels={"kind": "boolean", "function": name})


def test_a_tail_that_the_manifest_does_not_count_is_ignored_and_overwritten(tmp_path: Path) -> None:
    store = TaskStore(tmp_path / "s", create=True)
    store.append([task("t-1"), task("t-1")], "a", {"split": "train"})
    with open(store.path / "tasks.jsonl", "a") as stream:
        stream.write('{"half": ')
    assert [t.id for t in TaskStore(store.path).tasks()] == ["t-1"]
    TaskStore(store.path).append([task("t-2"), task("t-1")], "a", {"split": "train"})
    assert [t.id for t in TaskStore(store.path).tasks()] == ["t-1", "t-2"]
    assert TaskStore(store.path).manifest["packages"]["a"]["tasks"] == 2
    assert TaskStore(store.path).functions(beside="dev") == {"t-1", "t-2"}
    assert TaskStore(store.path).functions(beside="train") == set()


def test_malformed_stores_have_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="holds no tasks"):
        TaskStore(tmp_path)
    store = TaskStore(tmp_path / "s", create=True)
    store.append([task("t-1")], "a", {"split": "train"})
    lines = store.path / "tasks.jsonl"
    lines.write_bytes(b"x" * lines.stat().st_size)
    with pytest.raises(TaskError, match=r"tasks.jsonl:1"):
        store.tasks()
    lines.unlink()
    with pytest.raises(TaskError, match="shorter"):
        store.tasks()
    (store.path / "manifest.json").write_text("{")
    with pytest.raises(TaskError, match="cannot be read"):
        TaskStore(store.path)


def test_a_full_disk_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No space left"), disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_stopping_keeps_what_is_whole(tmp_path: Path) -> None:
    root = write(tmp_path / "tiny-1.0")
    gone = await asyncio.create_subprocess_exec("true")
    await gone.wait()
    (tmp_path / "s" / f"{_STAGING}{gone.pid}-left").mkdir(parents=True)  # of a call that was killed
    reached = asyncio.Event()

    def tell(stage: str, done: int, of: int) -> None:
        if stage == "mutants" and done:
            reached.set()

    making = asyncio.create_task(make_all([str(root)], tmp_path / "s", Options(workers=1), boxes, lambda source: tell))
    await reached.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    store = TaskStore(tmp_path / "s")
    assert store.tasks()
    assert sorted(p.name for p in store.path.iterdir()) == ["manifest.json", "tasks.jsonl", "trees"]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(["tasks", *words])
        return int(stop.value.code or 0), "".join(capsys.readouterr())

    root, out = write(tmp_path / "tiny-1.0"), str(tmp_path / "s")
    code, text = run("make", str(root), "-o", out, "--limit", "4", "--unisolated", "--kinds", "comparison,constant")
    assert code == 0 and "4 new tasks" in text
    code, text = run("list", out, "--json")
    rows = [json.loads(line) for line in text.splitlines()]
    assert {row["kind"] for row in rows} <= {"comparison", "constant"} and len(rows) == 4
    code, text = run("show", out, rows[0]["id"], "--gold")
    assert code == 0 and "Run `repro`" in text and "--- a/tiny/sums.py" in text
    code, text = run("show", out, "t-none")
    assert code == 2 and "is not there" in text
    code, text = run("make", str(tmp_path / "nothing"), "-o", str(tmp_path / "t"))
    assert code == 2 and "Way out" in text and not (tmp_path / "t").exists()
    code, text = run("make", str(root), "-o", out, "--split", "test")
    assert code == 2 and "held-out" in text
