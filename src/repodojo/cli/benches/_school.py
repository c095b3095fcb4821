"""A few real tasks, made of a small package that is written on the spot."""

from __future__ import annotations

import asyncio
from pathlib import Path

from repodojo.core.errors import TaskError
from repodojo.sandbox.factory import LocalFactory
from repodojo.tasks.make import Options
from repodojo.tasks.session import make_all
from repodojo.tasks.store import TaskStore

MODULE = '''"""Small sums."""


def clamp(x, low, high):
    """Keep x between two bounds.

    >>> clamp(5, 0, 3), clamp(-1, 0, 3), clamp(2, 0, 3)
    (3, 0, 2)
    """
    if x < low:
        return low
    if x > high:
        return high
    return x


def mean(values):
    """The arithmetic mean.

    >>> mean([1, 2, 6])
    3.0
    """
    total = 0
    for value in values:
        total += value
    return total / len(values)


def window(items, size):
    """Neighbours of a list.

    >>> window([1, 2, 3], 2)
    [[1, 2], [2, 3]]
    """
    out = []
    for start in range(len(items) - size + 1):
        out.append(items[start : start + size])
    return out
'''
TESTS = """from small.sums import clamp, mean, window


def test_clamp():
    assert [clamp(x, 0, 3) for x in (-1, 0, 2, 3, 4)] == [0, 0, 2, 3, 3]


def test_mean():
    assert mean([2, 4]) == 3


def test_window():
    assert window([1], 2) == [] and window([1, 2], 1) == [[1], [2]]
"""


def make_store(folder: Path) -> TaskStore:
    """At most four tasks; TaskError where none could be made."""
    root = folder / "small-1.0"
    for path, text in {
        "small/__init__.py": "",
        "small/sums.py": MODULE,
        "tests/test_sums.py": TESTS,
        "PKG-INFO": "Metadata-Version: 2.1\nName: small\nVersion: 1.0\nLicense: MIT\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    options = Options(limit=4, kinds=("comparison", "arithmetic", "off-by-one"))
    made = make_all(
        [str(root)],
        folder / "store",
        options,
        lambda store: LocalFactory(store, allow_unisolated=True),
        lambda _source: lambda _stage, _done, _of: None,
    )
    (line,) = asyncio.run(made)
    if line.error is not None:
        raise TaskError(f"no task could be made: {line.error}", way_out="see `repodojo doctor`")
    return TaskStore(folder / "store")
