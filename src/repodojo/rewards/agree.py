"""Whether two answers of `boxwitness` say the same: on plain trees, so that no object of the agent has a say in it."""

from __future__ import annotations

import json
import math
from typing import Any

CLOSE = 1e-9
"""Relative difference of floats that a sum in another order may make."""


def agree(wanted: Any, got: Any) -> bool:
    """Whether an answer is as good as the one wanted; both are lists as JSON gives them, `got` may be anything.

    Numbers are compared by value, whatever their type (as == does); dictionaries whatever their order. An exception
    agrees with one of its subclasses. What nobody could tell in plain terms agrees with nothing.

    >>> agree(["value", ["i", 1]], ["value", ["f", "1.0"]]), agree(["opaque"], ["opaque"])
    (True, False)
    """
    if not _answer(wanted) or not _answer(got) or wanted[0] != got[0]:
        return False
    if wanted[0] == "raise":
        return bool(wanted[1]) and isinstance(got[1], list) and wanted[1][0] in got[1]
    return _same(wanted[1], got[1], 0)


def _answer(answer: Any) -> bool:
    return isinstance(answer, list) and len(answer) == 2 and answer[0] in ("value", "changed", "raise")


def _same(wanted: Any, got: Any, depth: int) -> bool:
    if depth > 64:
        return False
    if isinstance(wanted, list) and isinstance(got, list) and wanted and got:
        left, right = _number(wanted), _number(got)
        if left is not None and right is not None:
            return _close(left, right)
        if wanted[0] == got[0] == "d" and len(wanted) == len(got) == 2:
            wanted, got = _sorted(wanted[1]), _sorted(got[1])
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) == len(got) and all(_same(w, g, depth + 1) for w, g in zip(wanted, got, strict=True))
    return type(wanted) is type(got) and bool(wanted == got)


def _sorted(pairs: Any) -> Any:
    return sorted(pairs, key=lambda pair: json.dumps(pair, sort_keys=True)) if isinstance(pairs, list) else pairs


def _number(tree: list[Any]) -> int | complex | None:
    """The number that a tree is; None where it is none."""
    if len(tree) != 2 or tree[0] not in ("i", "b", "f"):
        return None
    try:
        if tree[0] == "f":
            return complex(tree[1])
        return int(tree[1], 16) if isinstance(tree[1], str) else int(tree[1])
    except (ValueError, TypeError):
        return None


def _close(wanted: int | complex, got: int | complex) -> bool:
    if isinstance(wanted, int) and isinstance(got, int):
        return wanted == got
    try:
        wanted, got = complex(wanted), complex(got)
    except OverflowError:
        return False
    return all(
        (math.isnan(w) and math.isnan(g)) or w == g or math.isclose(w, g, rel_tol=CLOSE)
        for w, g in ((wanted.real, got.real), (wanted.imag, got.imag))
    )
