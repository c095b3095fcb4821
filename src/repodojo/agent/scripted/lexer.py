"""Source lines as pieces that edits are made of: good enough for any Python fragment, sound or broken."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>[ \t]*)(?:
    (?P<comment>\#.*)
  | (?P<string>[rRbBfFuU]{0,2}(?:\"\"\".*?(?:\"\"\"|$)|'''.*?(?:'''|$)|"(?:\\.|[^"\\])*(?:"|$)|'(?:\\.|[^'\\])*(?:'|$)))
  | (?P<name>[A-Za-z_]\w*)
  | (?P<number>\d[\w.]*)
  | (?P<op>\*\*=|//=|>>=|<<=|\.\.\.|\*\*|//|<<|>>|<=|>=|==|!=|->|:=|\+=|-=|\*=|/=|%=|&=|\|=|\^=|.)
    )""",
    re.VERBOSE,
)
KEYWORDS = frozenset(keyword.kwlist)


@dataclass(frozen=True)
class Piece:
    """A token of one line: its kind, text, and columns; `start` includes the blank before it."""

    kind: str
    text: str
    start: int
    end: int
    line: int

    @property
    def is_name(self) -> bool:
        """An identifier that is no keyword."""
        return self.kind == "name" and self.text not in KEYWORDS

    @property
    def ends_operand(self) -> bool:
        """Whether an operator after it would be binary."""
        return self.is_name or self.kind in ("number", "string") or self.text in (")", "]", "True", "False", "None")


def pieces_of(line: str, number: int) -> list[Piece]:
    """The pieces of one line, indentation and comments left out."""
    found = []
    at = len(line) - len(line.lstrip())
    while at < len(line):
        match = _TOKEN.match(line, at)
        if match is None or match.lastgroup is None:
            break
        if match.lastgroup != "comment":
            found.append(Piece(match.lastgroup, match[match.lastgroup], match.start(), match.end(), number))
        at = match.end()
    return found
