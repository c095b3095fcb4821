"""The interface of a language."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from repodojo.core.protocols import Sandbox
from repodojo.core.records import Environment
from repodojo.tasks.runs import Report


class Language(Protocol):
    """Four verbs, and which tests there are.

    build: puts the tree and its dependencies into `store` (trees/, sites/), by content, as of `date` (ISO; "" for
    today), and says what a box of it looks like. SourceError where that cannot be, with the reason.
    tests: what `run` takes: ids, or files where only a run tells ids.
    run: runs them in a box that `build` described; ids that the report leaves out did not run.
    parse: a report as the runner writes it; `file` is the test file that it is of, where a report is of one.
    """

    name: str

    def detect(self, root: Path) -> bool: ...

    def build(self, root: Path, store: Path, date: str = "") -> Environment: ...

    def tests(self, root: Path) -> list[str]: ...

    async def run(self, box: Sandbox, tests: Sequence[str], seconds: float) -> Report: ...

    def parse(self, data: bytes, file: str = "") -> Report: ...
