"""Byte code beside the sources speeds imports up, follows every change, and never holds what a task took away."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from repodojo.core.records import Environment
from repodojo.sandbox.bytecode import compile_tree
from repodojo.sandbox.factory import LocalFactory

SOUND = "def answer():\n    return 'the sound text'\n"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tree = tmp_path / "trees" / "t"
    (tree / "pkg").mkdir(parents=True)
    (tree / "pkg" / "__init__.py").write_text("")
    (tree / "pkg" / "mod.py").write_text(SOUND)
    (tree / "pkg" / "other.py").write_text("def other():\n    return 'other'\n")
    (tree / "pkg" / "broken.py").write_text("def :\n")
    compile_tree(tree, "/testbed")
    return tmp_path


@pytest.fixture
async def boxes(store: Path) -> AsyncIterator[LocalFactory]:
    factory = LocalFactory(store, lazy=False, allow_unisolated=True)
    yield factory
    await factory.close()


def environment(old: str = "", new: str = "") -> Environment:
    start = SOUND.find(old)
    edits = [{"path": "pkg/mod.py", "start": start, "end": start + len(old), "text": new}] if old else []
    recipe = {"kind": "python", "tree": "t", "site": "", "edits": edits, "scripts": {}}
    return Environment(recipe=recipe, work_dir="/testbed", variables={"PYTHONPATH": "/testbed"})


PRINT = "import pkg.mod, pkg.other; print(pkg.mod.answer(), pkg.other.__cached__)"


@pytest.mark.parametrize("edit", [("", ""), ("the sound text", "a broken text")])
async def test_what_runs_is_what_the_sources_say(boxes: LocalFactory, edit: tuple[str, str]) -> None:
    box = await boxes.create(environment(*edit))
    done = await box.exec(("python", "-c", PRINT))
    assert done.output.decode().startswith(edit[1] or "the sound text")
    await box.write("pkg/mod.py", b"def answer():\n    return 'the agent was here'\n")
    done = await box.exec(("python", "-c", PRINT))
    assert done.output.decode().startswith("the agent was here")
    assert await box.changes() == {"pkg/mod.py": b"def answer():\n    return 'the agent was here'\n"}


async def test_the_answer_is_not_in_the_byte_code(boxes: LocalFactory) -> None:
    box = await boxes.create(environment("the sound text", "a broken text"))
    done = await box.exec(("grep", "-rla", "the sound text", "/testbed", "/opt/box"))
    assert done.output == b""
    names = await box.listdir("pkg/__pycache__")
    assert not [name for name in names if name.startswith("mod.")]
    assert [name for name in names if name.startswith("other.")]


async def test_a_lazy_box_shows_no_byte_code_of_the_answer(store: Path) -> None:
    lazy = LocalFactory(store, allow_unisolated=True)
    box = await lazy.create(environment("the sound text", "a broken text"))
    names = [path.name for path in (store / "trees" / "t" / "pkg" / "__pycache__").glob("mod.*")]
    assert names
    with pytest.raises(FileNotFoundError):
        await box.read(f"pkg/__pycache__/{names[0]}")
    await lazy.close()


async def test_byte_code_is_used(boxes: LocalFactory, store: Path) -> None:
    """A module whose byte code was made from the same source comes from there: shown by code that differs."""
    tree = store / "trees" / "t"
    source = (tree / "pkg" / "other.py").read_text()
    (tree / "pkg" / "other.py").write_text(source.replace("'other'", "'bytes'"))
    compile_tree(tree, "/testbed")
    cached = next((tree / "pkg" / "__pycache__").glob("other.*"))
    stamped = cached.read_bytes().replace(b"bytes", b"BYTES")
    cached.write_bytes(stamped)
    box = await boxes.create(replace(environment(), work_dir="/testbed"))
    done = await box.exec(("python", "-c", "import pkg.other; print(pkg.other.other())"))
    assert done.output.decode().strip() == "BYTES"


def test_old_code_is_compiled_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("x = 1 is 1\n")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        compile_tree(tmp_path, "/testbed")
    assert not said and list(tmp_path.glob("__pycache__/old.*.pyc"))
