"""Python: pytest and doctests, by `boxrun`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from repodojo.core.errors import SourceError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import Environment
from repodojo.tasks import environment as env
from repodojo.tasks.discover import functions, pytest_ids
from repodojo.tasks.layout import layout_of, read_source
from repodojo.tasks.locks import Locks
from repodojo.tasks.runs import Report, parsed, report

EACH = 30.0


class Python:
    """See `base.Language`."""

    name = "python"

    def detect(self, root: Path) -> bool:
        """Whether a package or module is found."""
        try:
            return bool(layout_of(root))
        except SourceError:
            return False

    def build(self, root: Path, store: Path, date: str = "") -> Environment:
        """The package's tree with its tests, and the layer of its lock."""
        layout = layout_of(root)
        layer = env.put_layer(layout, store, Locks(), date)
        return env.environment(layout, env.put_tree(layout, store, tests=True), layer.site)

    def tests(self, root: Path) -> list[str]:
        """Ids of pytest functions, then of doctests."""
        layout = layout_of(root)
        found = [name for path in layout.tests for name in pytest_ids(path, read_source(root / path))]
        modules = [f for path in layout.modules() for f in functions(path, read_source(root / path))]
        return [*found, *(f.doctest_id for f in modules if f.doctest_id)]

    async def run(self, box: Sandbox, tests: Sequence[str], seconds: float) -> Report:
        """All in one cold interpreter."""
        return await report(box, tests, {}, seed=0, trace=False, seconds=seconds, each=EACH)

    def parse(self, data: bytes, file: str = "") -> Report:
        """The JSON of `boxrun --report`."""
        return parsed(data)
