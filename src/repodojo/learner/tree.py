"""What a group of token sequences shares, as a tree laid out on one flat axis in depth-first order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

MIN_SHARED = 16
"""A shorter common stretch costs more in extra kernel calls than it saves."""


@dataclass(frozen=True)
class Layout:
    """Who looks at whom. Rows are indices of the flat axis N.

    runs: (row, count, length): `count` stretches of `length` rows end to end, each causal within itself
    crosses: (first row, end row, first key, end key): these rows also see all of these earlier keys
    trees: (first row, end row): rows of different trees never see each other
    """

    runs: tuple[tuple[int, int, int], ...]
    crosses: tuple[tuple[int, int, int, int], ...]
    trees: tuple[tuple[int, int], ...]


def common(sequences: Sequence[Ints], start: int = 0) -> int:
    """End of the stretch from `start` that all sequences have in common."""
    if not sequences:
        return start
    first, end = sequences[0], min(s.size for s in sequences)
    for other in sequences[1:]:
        differs = np.nonzero(first[start:end] != other[start:end])[0]
        if differs.size:
            end = start + int(differs[0])
    return int(end)


@dataclass
class Forest:
    """Grows one tree a group; afterwards `rows[i]` says on which row each token of sequence i lies."""

    tokens: Mapping[int, Ints]
    rows: dict[int, Ints] = field(init=False)
    pieces: list[Ints] = field(default_factory=list)
    positions: list[Ints] = field(default_factory=list)
    crosses: list[tuple[int, int, int, int]] = field(default_factory=list)
    trees: list[tuple[int, int]] = field(default_factory=list)
    size: int = 0

    def __post_init__(self) -> None:
        self.rows = {index: np.empty(tokens.size, dtype=np.int64) for index, tokens in self.tokens.items()}

    def add(self, indices: Sequence[int]) -> None:
        """Lay out one group. What shares nothing with the rest becomes a tree of its own."""
        present = [i for i in indices if self.tokens[i].size]
        if present:
            self._grow(present, 0, root=True)

    def layout(self) -> Layout:
        """Spans for attention; neighbours of equal length become one run, so that one kernel call serves them."""
        runs: list[tuple[int, int, int]] = []
        row = 0
        for length, equal in groupby(piece.size for piece in self.pieces):
            count = len(list(equal))
            runs.append((row, count, length))
            row += count * length
        return Layout(tuple(runs), tuple(self.crosses), tuple(self.trees))

    def _grow(self, indices: list[int], start: int, root: bool) -> None:
        """Lay out `indices` from position `start`, and below a shared stretch whatever continues it."""
        first, end = self.size, common([self.tokens[i] for i in indices], start)
        if len(indices) > 1 and end - start < MIN_SHARED:
            self._branch(indices, start, end, root)
            return
        self._stretch(indices, start, end)
        last = self.size
        if len(indices) > 1:
            self._branch(indices, end, end, root=False)
        if self.size > last:
            self.crosses.append((last, self.size, first, last))
        if root:
            self.trees.append((first, self.size))

    def _branch(self, indices: list[int], start: int, end: int, root: bool) -> None:
        """Divide by the token at `end`; each part begins at `start` (earlier where too little was shared)."""
        parts: dict[int, list[int]] = {}
        for index in indices:
            tokens = self.tokens[index]
            # A sequence that ends here has no next token: a negative key of its own keeps it apart.
            parts.setdefault(int(tokens[end]) if tokens.size > end else -1 - index, []).append(index)
        for key, members in parts.items():
            if key >= 0:
                self._grow(members, start, root)
            elif end > start:
                self._stretch(members, start, end)
                if root:
                    self.trees.append((self.size - (end - start), self.size))

    def _stretch(self, indices: list[int], start: int, end: int) -> None:
        """Put positions start to end on the axis once, for all of `indices`."""
        for index in indices:
            self.rows[index][start:end] = np.arange(self.size, self.size + end - start)
        self.pieces.append(self.tokens[indices[0]][start:end])
        self.positions.append(np.arange(start, end))
        self.size += end - start
