"""Several bugs in one task: bugs that were each caught alone, in different functions of one file or folder."""

from __future__ import annotations

import posixpath
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from repodojo.tasks.baseline import Baseline
from repodojo.tasks.plan import Plan, files_of
from repodojo.tasks.select import Candidate

COMBINED = "combined"
MOST_OTHERS = 60
Within = Literal["file", "module"]


def combinations(kept: Sequence[Candidate], size: int, within: Within, seed: int) -> list[tuple[Candidate, ...]]:
    """Groups of `size` bugs of different functions, each bug in one group, drawn by `seed`.

    within: "file", or "module" for the files of one folder
    """
    places: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in sorted(kept, key=lambda c: int(c.key)):
        path = candidate.plan.function.path
        places[path if within == "file" else posixpath.dirname(path)].append(candidate)
    groups: list[tuple[Candidate, ...]] = []
    for place in sorted(places):
        left = places[place]
        random.Random(f"{seed}:{place}").shuffle(left)
        while len(group := _next(left, size)) == size:
            groups.append(tuple(group))
            left = [candidate for candidate in left if candidate not in group]
    return groups


def _next(left: Sequence[Candidate], size: int) -> list[Candidate]:
    group: list[Candidate] = []
    for candidate in left:
        if len(group) < size and not any(_overlap(candidate, other) for other in group):
            group.append(candidate)
    return group


def _overlap(a: Candidate, b: Candidate) -> bool:
    """Whether two bugs are of one function, or of a class and its method."""
    if a.plan.function.path != b.plan.function.path:
        return False
    (start, end), (first, last) = a.plan.function.span, b.plan.function.span
    return start < last and first < end


def merged(plans: Sequence[Plan], base: Baseline) -> Plan:
    """The ids of several functions as those of one task, each id in one role."""
    visible = tuple(dict.fromkeys(i for plan in plans for i in plan.visible))
    hidden = tuple(dict.fromkeys(i for plan in plans for i in plan.hidden if i not in visible))
    others = dict.fromkeys(i for plan in plans for i in plan.others if i not in visible and i not in hidden)
    shown = files_of(visible, base)
    files = files_of((*visible, *hidden), base) if hidden else {}
    return Plan(plans[0].function, visible, hidden, tuple(others)[:MOST_OTHERS], shown, files)
