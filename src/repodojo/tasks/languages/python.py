"""Python: pytest and doctests, by `boxrun`."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from repodojo.core.errors import SourceError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import Grader
from repodojo.rewards.filter import admissible
from repodojo.rewards.runner import CONFTEST
from repodojo.tasks import environment as env
from repodojo.tasks import pytest_options
from repodojo.tasks.assemble import PROTECTED
from repodojo.tasks.discover import functions, pytest_ids
from repodojo.tasks.languages.base import About, Built
from repodojo.tasks.layout import TEST_FILE, Layout, layout_of, read_source
from repodojo.tasks.locks import Locks
from repodojo.tasks.needs import needs_of
from repodojo.tasks.runs import Report, parsed, report

EACH = 30.0
REMEMBERED = 16
TEST_FOLDER = re.compile(r"(^|/)(tests?|testing)/")


@dataclass
class Python:
    """See `base.Language`. What was resolved for one folder serves the next (`locks`): they take turns at that."""

    name: str = "python"
    label: str = "python"
    source: str = "Python"
    protected: tuple[str, ...] = PROTECTED
    known: bool = True
    locks: Locks = field(default_factory=Locks)
    installing: threading.Lock = field(default_factory=threading.Lock)
    _layouts: dict[tuple[Path, str], Layout] = field(default_factory=dict)

    def detect(self, root: Path) -> bool:
        """Whether a package or module is found."""
        try:
            return bool(layout_of(root))
        except SourceError:
            return False

    def about(self, root: Path, package: str = "") -> About:
        """By its metadata and its files."""
        layout = self._layout(root, package)
        return About(layout.name, layout.licence, layout.tests)

    def wants(self, root: Path, package: str = "") -> tuple[str, ...]:
        """Interpreter and requirements."""
        layout = self._layout(root, package)
        needs = needs_of(root, layout.name, layout.tests)
        return (needs.python, *needs.requires, *needs.tests)

    def build(self, root: Path, store: Path, date: str = "", package: str = "") -> Built:
        """The package's tree with its tests, and the layer of its lock."""
        layout = self._layout(root, package)
        with self.installing:
            layer = env.put_layer(layout, store, self.locks, date)
        made = env.environment(layout, env.put_tree(layout, store, tests=True), layer.site)
        return Built(replace(made, variables={**made.variables, **pytest_options.variables(root)}), layer.date)

    def tests(self, root: Path) -> list[str]:
        """Ids of pytest functions, then of doctests."""
        layout = self._layout(root)
        found = [name for path in layout.tests for name in pytest_ids(path, read_source(root / path))]
        modules = [f for path in layout.modules() for f in functions(path, read_source(root / path))]
        return [*found, *(f.doctest_id for f in modules if f.doctest_id)]

    async def run(
        self, box: Sandbox, tests: Sequence[str], seconds: float, *, each: float = EACH, seed: int = 0
    ) -> Report:
        """All in one cold interpreter, under a hash seed."""
        return await report(box, tests, {}, seed=seed, trace=False, seconds=seconds, each=each, conftest=True)

    def parse(self, data: bytes) -> Report:
        """The JSON of `boxrun --report`."""
        return parsed(data)

    def is_source(self, path: str) -> bool:
        """By its ending."""
        return path.endswith(".py")

    def is_test(self, path: str) -> bool:
        """By its name, or because a tests folder holds it."""
        return bool(TEST_FILE.search(path) or TEST_FOLDER.search(path) or path.endswith("conftest.py"))

    def solution(self, root: Path, code: Sequence[str], package: str = "") -> list[str]:
        """Files in the package's tree that an agent may change."""
        layout = self._layout(root, package)
        prefix = f"{layout.import_root}/" if layout.import_root else ""
        tops = {path.removeprefix(prefix).split("/")[0] for path in layout.modules()}
        kept, _ = admissible(dict.fromkeys(code, b""), PROTECTED)
        new = {path for path in kept if path.startswith(prefix) and path.removeprefix(prefix).split("/")[0] in tops}
        inside = [path for path in kept if path in new or path in layout.files]
        return inside if any(path.endswith(".py") and not self.is_test(path) for path in inside) else []

    def chosen(self, root: Path, hidden: Mapping[str, str], others: int, package: str = "") -> list[str]:
        """Ids, of pytest functions alone."""
        ids = [name for path, text in hidden.items() for name in pytest_ids(path, text)]
        rest = [path for path in self._layout(root, package).tests if path not in hidden]
        more = [name for path in rest for name in pytest_ids(path, read_source(root / path))]
        return list(dict.fromkeys([*ids, *more[:others]])) if ids else []

    def grader(self, ids: Sequence[str]) -> Grader:
        """Ids by themselves."""
        return Grader("f2p_p2p", f"python -m boxrun --report {CONFTEST}", "boxrun")

    def _layout(self, root: Path, package: str = "") -> Layout:
        found = self._layouts.get((root, package)) or layout_of(root, package)
        if len(self._layouts) > REMEMBERED:  # folders come one after the other
            self._layouts.clear()
        self._layouts[root, package] = found
        return found
