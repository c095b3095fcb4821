"""The interface of a language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from repodojo.core.protocols import Sandbox
from repodojo.core.records import Environment, Grader
from repodojo.tasks.runs import Report


@dataclass(frozen=True)
class About:
    """What a repository says of itself. `tests` are its test files."""

    name: str
    licence: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Built:
    """What a box must look like, and the day that its dependencies are of ("" for today, or where there are none)."""

    environment: Environment
    date: str = ""


class Language(Protocol):
    """Verbs for a repository as it lies in a folder, and those that a walk through its commits needs beside them.

    label: a task's `language`; source: what its code is called in a funnel; protected: files at the top that no change
    may touch. `package` names what is made where the folder alone may not tell ("" where it does).

    about: SourceError where the folder holds no project.
    build: puts the tree and its dependencies into `store` (trees/, sites/), by content, as of `date` (ISO; "" for
    today), the tests as they are. SourceError where that cannot be, with the reason. `wants` tells what that reason
    hangs on: a folder with equal wants fails alike.
    tests: what `run` takes: ids, or files where only a run tells ids.
    run: runs them in a box that `build` described, in `seconds`, one of them in `each` (0: no limit of its own); ids
    that the report leaves out did not run.
    parse: a report as the runner writes it.

    is_source, is_test: of a path in a commit.
    solution: the changed files that are part of the solution, out of `code`; [] where no source is among them.
    chosen: what to run where the tests in `hidden` (text by path) are those of a commit: theirs first, then others up
    to `others`; [] where they hold no test. grader: what judges these ids. known: `chosen` are ids, not files.
    """

    name: str
    label: str
    source: str
    protected: tuple[str, ...]
    known: bool

    def detect(self, root: Path) -> bool: ...

    def about(self, root: Path, package: str = "") -> About: ...

    def wants(self, root: Path, package: str = "") -> tuple[str, ...]: ...

    def build(self, root: Path, store: Path, date: str = "", package: str = "") -> Built: ...

    def tests(self, root: Path) -> list[str]: ...

    async def run(
        self, box: Sandbox, tests: Sequence[str], seconds: float, *, each: float = 0.0, seed: int = 0
    ) -> Report: ...

    def parse(self, data: bytes) -> Report: ...

    def is_source(self, path: str) -> bool: ...

    def is_test(self, path: str) -> bool: ...

    def solution(self, root: Path, code: Sequence[str], package: str = "") -> list[str]: ...

    def chosen(self, root: Path, hidden: Mapping[str, str], others: int, package: str = "") -> list[str]: ...

    def grader(self, ids: Sequence[str]) -> Grader: ...
