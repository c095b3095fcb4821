"""`reward_file`: the command leaves a number in a file, as Harbor's verifiers do.

`expected` maps "json" to a path whose `reward` counts (or the file's only number), and "text" to one that holds
nothing but a number; without either, the file that $REPODOJO_RESULT names, read as text. What lies there beforehand is
removed; numbers are cut to [0, 1]. Forgeable by code that the command imports, where it finds the path and writes last
(the command should write after the code under test has ended), and by whatever forges the command's own tests.
"""

from __future__ import annotations

import json
import math
from typing import Any

from repodojo.core.records import Score, Task
from repodojo.rewards.graders.base import Ran

NAMES = ("json", "text")


class RewardFile:
    """The number in a file."""

    def files(self, task: Task, result: str) -> dict[str, str]:
        named = {name: task.grader.expected[name] for name in NAMES if name in task.grader.expected}
        return named or {"text": result}

    def variables(self, task: Task, result: str) -> dict[str, str]:
        return {}

    def score(self, task: Task, ran: Ran) -> Score:
        for name, read in (("json", from_json), ("text", from_text)):
            if name in ran.files:
                value = read(ran.files[name])
                return Score(value, parts={"reward_file": value})
        return Score(0.0, parts={"evidence:no reward file": 1.0})


def from_json(data: bytes) -> float:
    """The number under `reward`, or the only one that there is; 0 where that is none.

    >>> from_json(b'{"reward": 0.5, "seconds": 3}'), from_json(b'{"accuracy": 1}'), from_json(b'[1]')
    (0.5, 1.0, 0.0)
    """
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(found, dict):
        return 0.0
    numbers = [found["reward"]] if "reward" in found else list(found.values())
    return _cut(numbers[0]) if len(numbers) == 1 else 0.0


def from_text(data: bytes) -> float:
    """The number that is all of the text.

    >>> from_text(b" 1.0 "), from_text(b"2"), from_text(b"nan"), from_text(b"1 passed")
    (1.0, 1.0, 0.0, 0.0)
    """
    try:
        return _cut(float(data.decode("ascii", "replace")))
    except ValueError:
        return 0.0


def _cut(number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or math.isnan(number):
        return 0.0
    return float(min(max(number, 0), 1))
