"""When an example of a docstring did what it says: one rule for the host, and for the runner inside boxes.

Needs only the standard library: boxes are given this file as the module `boxdoctest`.
"""

from __future__ import annotations

import doctest

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
"""What every example is compared with, beside its own options."""


def as_expected(example: doctest.Example, got: str, exception: str) -> bool:
    """Whether an example printed (`got`) or raised (`exception`, "" for none) what is expected, by doctest's own rules.

    >>> as_expected(doctest.Example("1 + 1", "2"), "2\\n", "")
    True
    """
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
