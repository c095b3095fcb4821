"""Syntax-tree positions as character spans, so that a change leaves the rest of the file byte for byte alone."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cached_property


@dataclass
class Text:
    """A source file with its line table. Line numbers count from 1, columns of the syntax tree are UTF-8 bytes."""

    source: str
    lines: list[str] = field(init=False)
    starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = re.split(r"(?<=\n)", self.source.replace("\r\n", " \n").replace("\r", "\n"))
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))

    @cached_property
    def ascii(self) -> bool:
        return self.source.isascii()

    def offset(self, line: int, column: int) -> int:
        """Characters before a position of the syntax tree."""
        if not self.ascii:
            column = len(self.lines[line - 1].encode()[:column].decode(errors="ignore"))
        return self.starts[line - 1] + column

    def span(self, node: ast.expr | ast.stmt | ast.arg) -> tuple[int, int]:
        """Start and end of a node in characters."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def of(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self.source[start:end]

    def between(self, left: ast.expr, right: ast.expr, token: str) -> tuple[int, int] | None:
        """The span of `token` between two neighbouring operands; None where a comment stands in between."""
        start, end = self.span(left)[1], self.span(right)[0]
        gap = self.source[start:end]
        pattern = r"\s+".join(map(re.escape, token.split()))
        if "#" in gap or not (found := re.search(pattern, gap)):
            return None
        return start + found.start(), start + found.end()
