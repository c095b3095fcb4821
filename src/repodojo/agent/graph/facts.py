"""What one file says: its definitions, the names it uses, what it calls and imports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Definition:
    """A named thing: lines are 1-based and inclusive, `owner` is what it stands in ("Class" or "Outer.Inner", or "").

    >>> Definition("area", "method", 3, 5, "Box", "def area(self):").qualified
    'Box.area'
    """

    name: str
    kind: str
    first: int
    last: int
    owner: str
    signature: str

    @property
    def qualified(self) -> str:
        """Owner and name."""
        return f"{self.owner}.{self.name}" if self.owner else self.name


@dataclass(frozen=True, slots=True)
class Facts:
    """One file. `named` files definitions by name, `uses` maps a name to its lines, `calls` are (name, line).

    `imports` are modules as written. `broken`: the parser met errors, and what it could read is there all the same.
    """

    language: str
    lines: int = 0
    definitions: tuple[Definition, ...] = ()
    named: Mapping[str, tuple[Definition, ...]] = field(default_factory=dict)
    uses: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    calls: tuple[tuple[str, int], ...] = ()
    imports: tuple[str, ...] = ()
    broken: bool = False

    def enclosing(self, line: int) -> Definition | None:
        """The innermost definition that holds a line (variables hold nothing)."""
        holding = [d for d in self.definitions if d.first <= line <= d.last and d.kind != "variable"]
        return max(holding, key=lambda d: (d.first, -d.last), default=None)
