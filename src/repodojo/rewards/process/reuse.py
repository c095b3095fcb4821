"""reuse: clones of the repository's code among the code added, so that writing again what exists costs.

    score = 1 - cloned / tokens      tokens: those of the added lines;  cloned: those within a run of WINDOW tokens that
                                     also stands in the repository (names and literals stand for any name, any literal)

The repository is what is left of it after the change: code that was moved is no clone. Runs shorter than WINDOW are
everywhere in Python and count as fresh. Gamed by: the same logic in another shape (a loop for a comprehension), or
needless statements between copied ones; `size` counts those.

Tokens are those of the standard library's tokenize: exact for Python, and no dependency more. tree-sitter or Pygments
would read other languages too, but every task here is Python.
"""

from __future__ import annotations

import io
import keyword
import tokenize
from collections.abc import Iterator, Sequence
from itertools import chain

from repodojo.rewards.process.work import Work, added

WINDOW = 30
_LEFT_OUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
_LEFT_OUT |= {tokenize.ENDMARKER}

Token = tuple[int, str]
"""Its line, counted from 0, and what it is compared by."""


async def score(work: Work) -> float:
    """1 where nothing that was added stands in the repository already."""
    total = cloned = 0
    known: set[tuple[str, ...]] | None = None
    for path, text in work.python().items():
        runs = added(work.base.get(path, ""), text)
        for run in _inside(tokens(text), runs):
            total += len(run)
            if len(run) >= WINDOW:
                known = _remaining(work) if known is None else known
                cloned += _covered(run, known)
    return 1.0 - cloned / total if total else 1.0


def tokens(text: str) -> list[Token]:
    """Tokens that mean something, names and literals made alike; up to the first thing that is no token."""
    found: list[Token] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in _LEFT_OUT:
                continue
            said = token.string
            if token.type == tokenize.NAME and not keyword.iskeyword(said):
                said = "name"
            elif token.type in (tokenize.NUMBER, tokenize.STRING):
                said = "literal"
            found.append((token.start[0] - 1, said))
    except (tokenize.TokenError, SyntaxError):
        return found
    return found


def _inside(found: Sequence[Token], runs: Sequence[tuple[int, int]]) -> Iterator[list[str]]:
    """The tokens of each run of lines."""
    for first, last in runs:
        if run := [said for line, said in found if first <= line < last]:
            yield run


def _windows(run: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(run[at : at + WINDOW]) for at in range(len(run) - WINDOW + 1))


def _remaining(work: Work) -> set[tuple[str, ...]]:
    """Windows of the repository after the change, without what the change added."""
    kept: list[list[str]] = []
    for path, text in work.after().items():
        new = set(chain.from_iterable(range(*run) for run in added(work.base.get(path, ""), text)))
        if path not in work.changed:
            kept.append([said for _, said in tokens(text)])
            continue
        run: list[str] = []
        for line, said in tokens(text):  # what stands before and after an added run is no run of its own
            if line in new:
                kept.append(run)
                run = []
            else:
                run.append(said)
        kept.append(run)
    return {window for run in kept for window in _windows(run)}


def _covered(run: Sequence[str], known: set[tuple[str, ...]]) -> int:
    """Tokens of the run that lie within a known window."""
    covered: set[int] = set()
    for at, window in enumerate(_windows(run)):
        if window in known:
            covered.update(range(at, at + WINDOW))
    return len(covered)
