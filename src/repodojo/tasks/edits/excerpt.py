"""From a hunk to what a user would see: the file as it was then, the editable range in it, and the new text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from repodojo.core.editing import END, FILE_END, FILE_START, START
from repodojo.tasks.edits.hunks import Hunk


@dataclass(frozen=True)
class Bounds:
    """Characters of input (the whole of the user's message) and of output (the range's new text), both inclusive;
    `margin` is how many lines around the change may be in the range."""

    input: tuple[int, int] = (1_925, 24_883)
    output: tuple[int, int] = (36, 833)
    margin: int = 4


@dataclass(frozen=True)
class Range:
    """Lines [first, last) of the file as it is, and what they should become."""

    lines: Sequence[str]
    first: int
    last: int
    new: tuple[str, ...]

    @property
    def old_text(self) -> str:
        return "\n".join(self.lines[self.first : self.last])

    @property
    def new_text(self) -> str:
        return "\n".join(self.new)


def file_before(hunk: Hunk, old: Sequence[str], new: Sequence[str]) -> list[str] | None:
    """The file's lines just before this hunk, the commit's earlier ones made; None where it does not fit."""
    if tuple(old[hunk.old_at : hunk.old_at + len(hunk.old)]) != hunk.old:
        return None
    return [*new[: hunk.new_at], *old[hunk.old_at :]]


def editable(hunk: Hunk, lines: Sequence[str], bounds: Bounds, rng: random.Random) -> Range | None:
    """A range around the hunk whose new text has an allowed length; None where there is none.

    How many lines stand around the change is drawn, so that its place in the range tells nothing; where the text is too
    short, more are taken, where it is too long, fewer. The range does not reach the commit's next hunk.
    """
    start, end = hunk.new_at, hunk.new_at + len(hunk.old)
    room = len(lines) - end if hunk.next_at < 0 else hunk.next_at - (hunk.old_at + len(hunk.old))
    above = min(rng.randint(0, bounds.margin), start)
    below = min(rng.randint(0, bounds.margin), room)
    size = len(_range(hunk, lines, above, below).new_text)
    least, most = bounds.output
    while size < least and (above < min(bounds.margin, start) or below < min(bounds.margin, room)):
        above, below = (above + 1, below) if above < min(bounds.margin, start) else (above, below + 1)
        size = len(_range(hunk, lines, above, below).new_text)
    while size > most and above + below:
        above, below = (above - 1, below) if above > below else (above, below - 1)
        size = len(_range(hunk, lines, above, below).new_text)
    found = _range(hunk, lines, above, below)
    return found if least <= size <= most and found.old_text.strip() != found.new_text.strip() else None


def _range(hunk: Hunk, lines: Sequence[str], above: int, below: int) -> Range:
    start, end = hunk.new_at, hunk.new_at + len(hunk.old)
    new = (*lines[start - above : start], *hunk.new, *lines[end : end + below])
    return Range(lines, start - above, end + below, new)


def excerpt(path: str, found: Range, room: int) -> str:
    """The file around the range in at most `room` characters, equally much above and below where it can be."""
    before, after = list(found.lines[: found.first]), list(found.lines[found.last :])
    frame = _render(path, [], found, [], False, False)
    left = room - len(frame) - len(FILE_START) - len(FILE_END) - 2
    above, below = _sizes(before[::-1]), _sizes(after)
    half = left // 2
    up = _fitting(above, max(half, left - (below[-1] if below else 0)))
    down = _fitting(below, left - (above[up - 1] if up else 0))
    return _render(path, before[len(before) - up :], found, after[:down], up == len(before), down == len(after))


def _render(path: str, before: list[str], found: Range, after: list[str], top: bool, bottom: bool) -> str:
    rows = [f"```{path}", *([FILE_START] if top else []), *before, START]
    rows += [*found.lines[found.first : found.last], END, *after, *([FILE_END] if bottom else []), "```"]
    return "\n".join(rows)


def _sizes(rows: Sequence[str]) -> list[int]:
    """Characters of the first 1, 2, ... rows with their line ends."""
    total, found = 0, list[int]()
    for row in rows:
        total += len(row) + 1
        found.append(total)
    return found


def _fitting(sizes: Sequence[int], room: int) -> int:
    """How many rows fit."""
    return sum(1 for size in sizes if size <= room)
