"""Tasks of the tiny package, written by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tasks"))

from crafted_tasks import craft

from repodojo.core.records import Task
from repodojo.tasks.store import TaskStore


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> TaskStore:
    return craft(tmp_path_factory.mktemp("attacked"))


@pytest.fixture(scope="session")
def task(attacked: TaskStore) -> Task:
    """About `clamp`: a visible doctest, hidden pytest tests."""
    return attacked.get("t-clamp")
