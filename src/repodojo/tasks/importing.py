"""Task sets of others into a store, and back out: row by row, with flat memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repodojo import __version__
from repodojo.core.errors import TaskError
from repodojo.core.records import Source, Split, Task
from repodojo.tasks.formats import Format, Row, RowError, detect, dump, load, named, rows
from repodojo.tasks.manifest import package_of
from repodojo.tasks.store import TaskStore

SHOWN = 20
"""Errors that a report keeps in full; all are counted."""


@dataclass
class Report:
    """What became of the rows: `funnel` counts them, `errors` says where the first malformed ones are."""

    funnel: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def wrong(self, what: str, where: str, cause: str) -> None:
        self.funnel[what] += 1
        if len(self.errors) < SHOWN:
            self.errors.append(f"{where}: {cause}")


def take(
    path: Path,
    store: TaskStore,
    *,
    split: Split,
    dataset: str = "",
    kind: str = "",
    tell: Callable[[int], None] = lambda done: None,
) -> Report:
    """Import a file or folder. A malformed row is reported and does not stop the others.

    A row whose repository is in another split of the store is left out. Nothing counts before the end, so an
    import that is stopped can simply be run again. Raises TaskError where nothing at all can be read.
    """
    chosen = named(kind) if kind else None
    report, refused = Report(), {name: e.get("split", "") for name, e in store.manifest["packages"].items()}
    source = Source(dataset or path.stem, split=split)
    entries: dict[str, dict[str, Any]] = {}
    with store.appending() as adding:
        for number, (where, row) in enumerate(rows.read(path), 1):
            tell(number)
            report.funnel["rows"] += 1
            try:
                task, line, used = _task(row, chosen, source)
            except RowError as error:
                report.wrong("malformed", where, error.cause)
                continue
            package = package_of(task)
            if refused.get(package, split) != split:
                report.wrong("in another split", where, f"{package} is in the split {refused[package]!r}")
            elif adding.put(task, package, line):
                report.funnel["added"] += 1
                report.formats[used.name] += 1
                report.funnel["unsolvable"] += "unsolvable" in task.labels
                entries.setdefault(package, {"split": split, "source": source.dataset, "licence": task.licence})
            else:
                report.funnel["there already"] += 1
        if not report.funnel["rows"]:
            raise TaskError(f"{path} holds no rows", way_out="name another file")
        if report.funnel["malformed"] == report.funnel["rows"]:
            raise TaskError(f"no row of {path} can be read, e.g. {report.errors[0]}", way_out="see --format")
        entry = {"file": path.name, "sha256": _digest(path), "formats": dict(report.formats), "split": split}
        entry |= {"schema": rows.schema(path), "made_with": f"repodojo {__version__}", "funnel": dict(report.funnel)}
        store.manifest = adding.commit(entries, imports=[*store.manifest.get("imports", []), entry])
    return report


def _task(row: Row | RowError, chosen: Format | None, source: Source) -> tuple[Task, str, Format]:
    if isinstance(row, RowError):
        raise row
    kind = chosen or detect(row)
    return *load(kind, row, source), kind


def _digest(path: Path) -> str:
    """What a file hashes to; "" for a folder, whose tasks carry all that was in it."""
    if not path.is_file():
        return ""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def give(
    store: TaskStore,
    path: Path,
    kind: str,
    *,
    split: Split | None = None,
    tell: Callable[[int], None] = lambda done: None,
) -> Report:
    """Export a store as `kind`; tasks that the format cannot say are reported and left out."""
    chosen, report = named(kind), Report()

    def each() -> Iterator[Row]:
        for number, task in enumerate(store.each(split), 1):
            tell(number)
            report.funnel["tasks"] += 1
            try:
                row = dump(chosen, task)
            except TaskError as error:
                report.wrong("cannot be said", task.id, error.cause)
                continue
            report.funnel["unchanged" if task.raw.get("format") == kind else "translated"] += 1
            yield row

    schemas = [e["schema"] for e in store.manifest.get("imports", []) if set(e["formats"]) == {kind} and e["schema"]]
    whole = len(store.manifest.get("imports", [])) == 1 == len(schemas)
    report.funnel["written"] = rows.write(each(), path, chosen, schemas[0] if whole else "")
    return report
