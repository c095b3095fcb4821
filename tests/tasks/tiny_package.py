"""A package small enough to read, with doctests, pytest tests, and one function that nothing tests."""

from __future__ import annotations

from pathlib import Path

from repodojo.core.protocols import SandboxFactory
from repodojo.sandbox.factory import LocalFactory

MODULE = '''"""Small sums."""


def clamp(x, low, high):
    """Keep x between two bounds.

    >>> clamp(5, 0, 3)
    3
    >>> clamp(-1, 0, 3)
    0
    >>> clamp(2, 0, 3)
    2
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
    out = []
    for start in range(len(items) - size + 1):
        out.append(items[start : start + size])
    return out


def untested(x):
    return x + 1


def clock():
    """Never twice the same.

    >>> clock()
    0
    """
    import time

    return time.time_ns()
'''
TESTS = """import pytest

from tiny.sums import clamp, window


@pytest.mark.parametrize("x", [0, 1, 3])
def test_clamp_inside(x):
    assert clamp(x, 0, 3) == x


def test_clamp_equal_bounds():
    assert clamp(7, 2, 2) == 2
    assert clamp(1, 2, 2) == 2


def test_window():
    assert window([1, 2, 3], 2) == [[1, 2], [2, 3]]


def test_window_too_long():
    assert window([1], 2) == []
"""
INFO = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\nLicense: MIT\n"


def write(folder: Path, module: str = MODULE, tests: str = TESTS) -> Path:
    """The package's folder, as an sdist would unpack."""
    (folder / "tiny").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "tiny" / "__init__.py").write_text("")
    (folder / "tiny" / "sums.py").write_text(module)
    if tests:
        (folder / "tests" / "test_sums.py").write_text(tests)
    (folder / "PKG-INFO").write_text(INFO)
    return folder


def boxes(store: Path) -> SandboxFactory:
    """The local sandbox, isolated where this machine can."""
    return LocalFactory(store, allow_unisolated=True)


def quiet(stage: str, done: int, of: int) -> None:
    """A `tell` that says nothing."""
