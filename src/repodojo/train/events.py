"""What a run tells whoever watches it: the loop reports, the command line draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Watcher(Protocol):
    """Receives progress. `total` is in the unit of `done`; 0 where it is not known."""

    def phase(self, name: str, total: int) -> None:
        """A new phase begins."""
        ...

    def advance(self, done: int = 1, note: str = "") -> None:
        """Progress within the phase."""
        ...

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """A step ended."""
        ...


class Silent:
    """Watches nothing: for tests and for callers who do not care."""

    def phase(self, name: str, total: int) -> None:
        del name, total

    def advance(self, done: int = 1, note: str = "") -> None:
        del done, note

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        del stage, step, values
