"""What the harness shows: a definition as it stands, without docstring, and the lines that it came from."""

from __future__ import annotations

import ast

import pytest

from repodojo.agent.focus import listing, retrieve
from repodojo.agent.tools.base import View
from repodojo.sandbox.fake import FakeSandbox

SOURCE = '''import os


class Box:
    """A box."""

    @property
    def size(
        self,
    ):
        """How big.

        Really.
        """
        text = """
left
"""

        return len(text)

    def one(self): "short"; return 1

    def two(self):
        """short"""; return 2

    def three(self):
        """short"""  # a comment
        return 3


def size(): "only"
'''


def test_a_method_is_dedented_without_docstring_and_blank_lines() -> None:
    shown = listing("a.py", SOURCE, "Box.size")
    assert shown.text.split("\n") == [
        "@property",
        "def size(",
        "    self,",
        "):",
        '    text = """',
        "left",
        '"""',
        "    return len(text)",
    ]
    lines = SOURCE.split("\n")
    assert [lines[number - 1].strip() for number in shown.numbers] == [row.strip() for row in shown.text.split("\n")]
    assert shown.numbered.split("\n")[1] == "8\tdef size("
    assert shown.view.path == "a.py"
    kept = [line for a, b in shown.view.ranges for line in lines[a - 1 : b] if line.strip()]
    assert [line.strip() for line in kept] == [line.strip() for line in shown.text.split("\n")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Box.one", 'def one(self): "short"; return 1'),
        ("Box.two", 'def two(self):\n    """short"""; return 2'),
        ("Box.three", "def three(self):\n    return 3"),
        ("size", 'def size(): "only"'),
    ],
)
def test_a_docstring_goes_only_where_it_stands_alone(name: str, text: str) -> None:
    shown = listing("a.py", SOURCE, name)
    assert shown.text == text and shown.view.ranges
    ast.parse(shown.text)


def test_names_that_are_not_there() -> None:
    for name in ("", "Box.none", "os", "Box.size.text"):
        with pytest.raises(LookupError):
            listing("a.py", SOURCE, name)


async def test_the_first_readable_definition_is_shown() -> None:
    deep = b"(" * 5000
    box = FakeSandbox(
        {"bad.py": b"def f(:", "bytes.py": b"\xff", "nul.py": b"\0", "deep.py": deep, "a.py": SOURCE.encode()}
    )
    bad = ["none.py::f", "bad.py::f", "bytes.py::f", "nul.py::f", "deep.py::f", "a.py::g", "a.py", "/::f"]
    assert await retrieve(box, bad) is None
    found = await retrieve(box, [*bad, "a.py::Box.three", "a.py::size"])
    assert found is not None and found.view == View("a.py", ((26, 26), (28, 28)))
