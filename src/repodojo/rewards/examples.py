"""Examples of docstrings, judged outside the box: only their source goes in, only what they printed comes out."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from typing import Any

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


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
        if not example.options.get(doctest.SKIP) and not _right(example, output[1], output[2]):
            return False
    return True


def _examples(text: str) -> Sequence[doctest.Example]:
    try:
        return doctest.DocTestParser().get_examples(text)
    except ValueError:
        return ()


def _right(example: doctest.Example, got: str, exception: str) -> bool:
    """By doctest's own rules, with the flags of `boxrun`."""
    flags = FLAGS
    for flag, on in example.options.items():
        flags = flags | flag if on else flags & ~flag
    checker = doctest.OutputChecker()
    if not exception:
        return example.exc_msg is None and checker.check_output(example.want, got, flags)
    if example.exc_msg is None:
        return False
    if flags & doctest.IGNORE_EXCEPTION_DETAIL:
        names = [text.partition(":")[0].strip().rpartition(".")[2] for text in (example.exc_msg, exception)]
        return names[0] == names[1]
    return checker.check_output(example.exc_msg, exception, flags)
