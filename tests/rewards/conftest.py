"""A task set made from the tiny package of the tasks' tests."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tasks"))

from crafted_tasks import craft
from tiny_package import boxes, quiet, write

from repodojo.tasks.make import Options
from repodojo.tasks.session import make_all
from repodojo.tasks.store import TaskStore


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> TaskStore:
    folder = tmp_path_factory.mktemp("graded")
    root = write(folder / "tiny-1.0")
    lines = asyncio.run(make_all([str(root)], folder / "store", Options(), boxes, lambda source: quiet))
    assert lines[0].error is None
    return TaskStore(folder / "store")


@pytest.fixture(scope="session")
def crafted(tmp_path_factory: pytest.TempPathFactory) -> TaskStore:
    """Three tasks written by hand."""
    return craft(tmp_path_factory.mktemp("crafted"))
