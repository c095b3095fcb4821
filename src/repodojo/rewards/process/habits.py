"""The habits of a file that no rule of ruff's need name: its quotes, its indentation, how long its lines get."""

from __future__ import annotations

import io
import tokenize
from collections import Counter
from collections.abc import Iterator

FEWEST = 5  # strings or indented lines from which a habit is read
CLEAR = 0.8  # share that makes it one
SHORT = 79  # a line no longer than this breaks no habit


def broken(before: str, after: str, runs: list[tuple[int, int]]) -> int:
    """Lines within `runs` (of `after`, counted from 0) that break a habit of the text before; 0 for a new file."""
    lines = after.splitlines()
    own = {number for first, last in runs for number in range(first, last)}
    longest = max([SHORT, *(len(line) for line in before.splitlines())])
    indent = _habit(Counter(line[0] for line in before.splitlines() if line[:1] in (" ", "\t")))
    quote = _habit(Counter(mark for _, mark, _ in _strings(before)))
    found = {n for n in own if before and len(lines[n]) > longest}
    found |= {n for n in own if indent and lines[n][:1] in (" ", "\t") and lines[n][0] != indent}
    if quote:
        found |= {n for n, mark, text in _strings(after) if n in own and mark != quote and quote not in text}
    return len(found)


def _habit(counts: Counter[str]) -> str:
    """What is done CLEAR of the time; "" where that cannot be told."""
    total = counts.total()
    if total < FEWEST:
        return ""
    what, count = counts.most_common(1)[0]
    return what if count >= CLEAR * total else ""


def _strings(text: str) -> Iterator[tuple[int, str, str]]:
    """Line (from 0), quotation mark and inside of each string that is not of three quotes, as far as it can be read."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            body = token.string.lstrip("rRbBuUfF")
            if token.type == tokenize.STRING and body[:3] not in ('"""', "'''"):
                yield token.start[0] - 1, body[0], body[1:-1]
    except (tokenize.TokenError, SyntaxError):
        return
