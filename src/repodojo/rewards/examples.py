"""Examples of docstrings, judged outside the box: only their source goes in, only what they printed comes out."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from typing import Any

from repodojo.core import doctests


def without_answers(text: str) -> str:
    """A docstring's examples without the output that they expect.

    >>> without_answers("Twice.\\n\\n    >>> double(2)\\n    4\\n")
    '>>> double(2)\\n'
    """
    rows: list[str] = []
    for example in _examples(text):
        first, *more = example.source.rstrip("\n").split("\n")
        rows += [f">>> {first}", *(f"... {row}" for row in more)]
    return "".join(f"{row}\n" for row in rows)


def as_expected(text: str, outputs: Any) -> bool:
    """Whether each example of `text` printed what it says; `outputs`: [[index, printed, exception], ...] from a box."""
    examples = _examples(text)
    if not examples or not isinstance(outputs, list) or len(outputs) != len(examples):
        return False
    for index, (example, output) in enumerate(zip(examples, outputs, strict=True)):
        if not (isinstance(output, list) and len(output) == 3 and output[0] == index):
            return False
        if not all(isinstance(part, str) for part in output[1:]):
            return False
        if not example.options.get(doctest.SKIP) and not doctests.as_expected(example, output[1], output[2]):
            return False
    return True


def _examples(text: str) -> Sequence[doctest.Example]:
    try:
        return doctest.DocTestParser().get_examples(text)
    except ValueError:
        return ()
