"""Which ids judge a function: what the agent may see, what is held back, what must stay green."""

from __future__ import annotations

import ast
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from repodojo.tasks.baseline import Baseline
from repodojo.tasks.discover import FunctionInfo, prune
from repodojo.tasks.runs import Job

HIDDEN_TESTS = 3
OTHERS = 40
LARGEST_TEST_FILE = 12_000
"""Characters of a pruned test file above which its tests are not used: most of it would be data."""


@dataclass(frozen=True)
class Plan:
    """A function that can be broken, and the ids that will tell.

    shown: test files that the agent gets (pruned to the visible tests); hidden_files: those that only grading sees
    """

    function: FunctionInfo
    visible: tuple[str, ...]
    hidden: tuple[str, ...]
    others: tuple[str, ...]
    shown: Mapping[str, str]
    hidden_files: Mapping[str, str]

    def job(self, key: str, edits: Sequence[Mapping[str, object]] = (), gate: bool = True) -> Job:
        """Everything run at once, as grading will."""
        later, files = (*self.hidden, *self.others), {**self.shown, **self.hidden_files}
        return Job(key, self.function.path, tuple(edits), files, self.visible, later, gate)

    def without(self, bad: frozenset[str]) -> Plan | None:
        """The plan without ids that are not green in it; None where nothing visible is left."""
        visible = tuple(i for i in self.visible if i not in bad)
        if not visible:
            return None
        hidden = tuple(i for i in self.hidden if i not in bad)
        return replace(self, visible=visible, hidden=hidden, others=tuple(i for i in self.others if i not in bad))


def plan(function: FunctionInfo, base: Baseline, by_function: Mapping[str, Sequence[str]], seed: int) -> Plan | None:
    """The ids for one function; None where no green test reaches it.

    A function's own doctest is what the agent sees, and pytest tests are held back. Without a doctest the most
    specific pytest test is shown, and others are held back where there are any.
    """
    tests = by_function.get(function.focus, ())
    tests = sorted(tests, key=lambda i: (function.node.name not in i, len(base.touched[i]), i))
    tests = [i for i in tests[: 4 * HIDDEN_TESTS] if _reasonable(i, base)]
    own = function.doctest_id
    if own in base.green:
        visible, hidden = (own,), tuple(tests[:HIDDEN_TESTS])
    elif tests:
        visible, hidden = (tests[0],), tuple(tests[1 : 1 + HIDDEN_TESTS])
    else:
        return None
    prefix = f"doctest:{function.path}::"
    others = sorted(i for i in base.green if i.startswith(prefix) and i != own)
    if len(others) > OTHERS:
        others = sorted(random.Random(f"{seed}:{function.focus}").sample(others, OTHERS))
    shown = files_of(visible, base)
    return Plan(function, visible, hidden, tuple(others), shown, files_of((*visible, *hidden), base) if hidden else {})


def by_function(base: Baseline, definitions: Sequence[FunctionInfo] = ()) -> dict[str, list[str]]:
    """Green pytest ids by the definition they call; what reaches a method reaches its class, among `definitions`."""
    found: dict[str, list[str]] = {}
    for name, called in base.touched.items():
        if name in base.green and name.startswith("pytest:"):
            for focus in called:
                found.setdefault(focus, []).append(name)
    for thing in definitions:
        if isinstance(thing.node, ast.ClassDef):
            methods = (names for focus, names in list(found.items()) if focus.startswith(f"{thing.focus}."))
            if reached := dict.fromkeys(name for names in methods for name in names):
                found[thing.focus] = list(reached)
    return found


def _reasonable(name: str, base: Baseline) -> bool:
    return all(len(text) <= LARGEST_TEST_FILE for text in files_of((name,), base).values())


def files_of(names: Sequence[str], base: Baseline) -> dict[str, str]:
    """Pruned test files that hold just these pytest ids."""
    wanted: dict[str, list[str]] = {}
    for name in names:
        if name.startswith("pytest:"):
            path, _, test = name.removeprefix("pytest:").partition("::")
            wanted.setdefault(path, []).append(test)
    return {path: prune(base.tests[path], tests) for path, tests in wanted.items()}
