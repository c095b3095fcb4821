"""Random well-typed edits of a listing, as the editor takes them: line, old_str, new_str.

Nothing here knows what was broken. A family is a way in which code may be changed (an operator for another of its
class, a name for another local name, ...); a candidate is a span of one line and its replacement.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from repodojo.agent.scripted.lexer import KEYWORDS, Piece, pieces_of
from repodojo.agent.tools.editor import whole_words

CLASSES = (
    ("comparison", ("<", "<=", ">", ">=", "==", "!=")),
    ("arithmetic", ("+", "-", "*", "/", "//", "%", "**")),
    ("arithmetic", ("+=", "-=", "*=")),
    ("boolean", ("and", "or")),
    ("boolean", ("True", "False")),
)


@dataclass(frozen=True)
class Candidate:
    """Pieces first..last (exclusive) of a line give way to `text`, which brings its own leading blank."""

    family: str
    line: int
    first: int
    last: int
    text: str


@dataclass(frozen=True)
class Edit:
    """What the editor is asked to do; `line` is counted as the file's lines are."""

    family: str
    line: int
    old: str
    new: str


class Listing:
    """A definition's source and everything that can be tried on it; `numbers` are its lines' in the file."""

    def __init__(self, text: str, numbers: Sequence[int] = ()) -> None:
        self.lines = text.split("\n")
        self.numbers = numbers or range(1, len(self.lines) + 1)
        self.pieces = [pieces_of(line, number) for number, line in enumerate(self.lines)]
        self.names = sorted(_local_names(self.pieces))
        self.by_family: dict[str, list[Candidate]] = {}
        for row in self.pieces[1:]:
            for candidate in _candidates(row, self.names):
                self.by_family.setdefault(candidate.family, []).append(candidate)

    def draw(self, rng: random.Random, tries: int = 20) -> Edit | None:
        """A random edit: a family, then one of its candidates; None where the listing offers none."""
        families = sorted(self.by_family)
        for _ in range(tries if families else 0):
            edit = self.edit(rng.choice(self.by_family[rng.choice(families)]))
            if edit is not None:
                return edit
        return None

    def edit(self, candidate: Candidate) -> Edit | None:
        """The candidate with as much context as makes it the first such in its line; None where that cannot be."""
        row, line = self.pieces[candidate.line], self.lines[candidate.line]
        first, last = candidate.first, candidate.last
        while True:
            start = row[first].start if first else row[0].end - len(row[0].text)
            end = row[last - 1].end
            if _comes_first(line, line[start:end], start):
                break
            wider = (_reach(row, first, -1), last)
            if wider == (first, last):
                wider = (first, _reach(row, last, 1))
            if wider == (first, last):
                return None
            first, last = wider
        inner = row[candidate.first].start, row[candidate.last - 1].end
        old, new = line[start:end], line[start : inner[0]] + candidate.text + line[inner[1] : end]
        new = new if first else new.lstrip()
        number = self.numbers[candidate.line]
        return Edit(candidate.family, number, old, new) if plain(old) and plain(new) and old != new else None


def _comes_first(line: str, old: str, start: int) -> bool:
    """Whether the editor would take `old` for the one at `start`, however deep the line is indented in the file."""
    deeper = f" {line}"
    hits = [at for at in range(len(deeper)) if deeper.startswith(old, at)]
    return whole_words(deeper, old, hits)[0] == start + 1


def _reach(row: Sequence[Piece], at: int, by: int) -> int:
    """The boundary `by` pieces further, or as far as all pieces between are plain."""
    step = 1 if by > 0 else -1
    for _ in range(abs(by)):
        beyond = at if step > 0 else at - 1
        if not 0 <= beyond < len(row) or not plain(row[beyond].text):
            break
        at += step
    return at


def plain(text: str) -> bool:
    """Text that JSON writes as it stands, so that it has the same tokens as in the listing."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _local_names(rows: Sequence[Sequence[Piece]]) -> set[str]:
    """Parameters and assigned names: what stands before `=`, `in`, `,` or in the signature, by shape alone."""
    names: set[str] = set()
    for number, row in enumerate(rows):
        for i, piece in enumerate(row):
            after = row[i + 1].text if i + 1 < len(row) else ""
            before = row[i - 1].text if i else ""
            if not piece.is_name or before in (".", "def", "class"):
                continue
            bound = number == 0 or (after in ("=", "+=", "-=", ":=") and before not in ("(", ","))
            if bound or (before in ("for", "as", ",") and "for" in (p.text for p in row) and after in ("in", ",", ":")):
                names.add(piece.text)
    return names - {"self", "cls"}


def _candidates(row: Sequence[Piece], names: Sequence[str]) -> Iterator[Candidate]:
    for i, piece in enumerate(row):
        blank = " " if piece.end - piece.start > len(piece.text) and i else ""
        before = row[i - 1] if i else None
        yield from _swaps(row, i, blank, before)
        yield from _negations(row, i, blank)
        yield from _numbers(row, i, blank)
        if piece.is_name and piece.text in names and not _is_keyword_or_attribute(row, i):
            for name in names:
                if name != piece.text:
                    yield Candidate("variable", piece.line, i, i + 1, blank + name)
        yield from _swapped(row, i, blank)
    yield from _statements(row, names)


def _is_keyword_or_attribute(row: Sequence[Piece], i: int) -> bool:
    after = row[i + 1].text if i + 1 < len(row) else ""
    return (i > 0 and row[i - 1].text == ".") or (after == "=" and i > 0 and row[i - 1].text in ("(", ","))


def _swaps(row: Sequence[Piece], i: int, blank: str, before: Piece | None) -> Iterator[Candidate]:
    piece = row[i]
    for family, members in CLASSES:
        if piece.text in members and (family != "arithmetic" or (before is not None and before.ends_operand)):
            for other in members:
                if other != piece.text:
                    yield Candidate(family, piece.line, i, i + 1, blank + other)


def _negations(row: Sequence[Piece], i: int, blank: str) -> Iterator[Candidate]:
    piece = row[i]
    after = row[i + 1].text if i + 1 < len(row) else ""
    is_loop = any(p.text == "for" for p in row[:i])
    if piece.text == "not":
        if after == "in":
            yield Candidate("negation", piece.line, i, i + 2, blank + "in")
        else:
            yield Candidate("negation", piece.line, i, i + 1, "")
    elif piece.text == "is":
        if after == "not":
            yield Candidate("negation", piece.line, i, i + 2, blank + "is")
        else:
            yield Candidate("negation", piece.line, i, i + 1, blank + "is not")
    elif piece.text == "in" and not is_loop:
        yield Candidate("negation", piece.line, i, i + 1, blank + "not in")
    elif piece.text in ("if", "elif", "while") and after != "not":
        yield Candidate("negation", piece.line, i, i + 1, blank + piece.text + " not")


def _numbers(row: Sequence[Piece], i: int, blank: str) -> Iterator[Candidate]:
    piece = row[i]
    after = row[i + 1] if i + 1 < len(row) else None
    for other in _other_constants(piece):
        yield Candidate("constant", piece.line, i, i + 1, f"{blank}{other}")
    if piece.text in ("+", "-") and after is not None and after.text == "1" and i and row[i - 1].ends_operand:
        yield Candidate("off-by-one", piece.line, i, i + 2, "")
    operand = (piece.is_name and (after is None or after.text not in ("(", ".", "=", "["))) or piece.text in (")", "]")
    closes = after is not None and after.text in (")", "]", ",", ":")
    if operand and closes and not any(p.text in ("def", "import", "class", "for", "lambda") for p in row[:i]):
        yield Candidate("off-by-one", piece.line, i, i + 1, f"{blank}{piece.text} + 1")
        yield Candidate("off-by-one", piece.line, i, i + 1, f"{blank}{piece.text} - 1")


def _other_constants(piece: Piece) -> list[str]:
    if piece.kind == "number" and piece.text.isdigit():
        value = int(piece.text)
        numbers = sorted({value + 1, max(value - 1, 0), value // 2, 0, 1, 2} - {value})
        return [*map(str, numbers), *(["None"] if value == 0 else [])]
    return {"None": ["0"], "''": ["' '"], "' '": ["''"]}.get(piece.text, [])


def _swapped(row: Sequence[Piece], i: int, blank: str) -> Iterator[Candidate]:
    """`a, b` between brackets or commas, both simple, to `b, a`."""
    if not 0 < i < len(row) - 3 or row[i + 1].text != "," or row[i - 1].text not in ("(", ","):
        return
    one, other, end = row[i], row[i + 2], row[i + 3].text
    simple = all(p.is_name or p.kind == "number" for p in (one, other))
    if simple and end in (")", ",") and one.text != other.text:
        yield Candidate("swap", one.line, i, i + 3, f"{blank}{other.text}, {one.text}")


def _statements(row: Sequence[Piece], names: Sequence[str]) -> Iterator[Candidate]:
    """Comment a simple statement out, or put a simple one in the place of `pass`."""
    if not row or row[-1].text in (":", ",", "(", "[", "{") or row[0].text in ("def", "class", "@", ")", "]", "}"):
        return
    if row[0].text == "pass":
        for name in names:
            for other in names:
                yield Candidate("statement", row[0].line, 0, 1, f"{name} = {other}")
                yield Candidate("statement", row[0].line, 0, 1, f"{name}.append({other})")
            yield Candidate("statement", row[0].line, 0, 1, f"return {name}")
            yield Candidate("statement", row[0].line, 0, 1, f"{name} += 1")
        for word in ("return", "continue", "break"):
            yield Candidate("statement", row[0].line, 0, 1, word)
    elif row[0].text not in KEYWORDS or row[0].text in ("return", "raise", "continue", "break", "del"):
        yield Candidate("statement", row[0].line, 0, 1, f"pass  # {row[0].text}")
