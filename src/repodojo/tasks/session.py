"""Several sources into one store: each is made in a staging folder and published whole, or not at all."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from repodojo import __version__
from repodojo.core.errors import RepodojoError
from repodojo.core.protocols import SandboxFactory
from repodojo.core.records import Task
from repodojo.tasks.layout import canonical, layout_of
from repodojo.tasks.make import Made, Maker, Options, Tell
from repodojo.tasks.sources import fetch
from repodojo.tasks.store import TaskStore, disk_errors

_STAGING = f".making-{platform.node()}-"
Factories = Callable[[Path], SandboxFactory]


@dataclass
class Line:
    """What became of one source, for the table at the end."""

    source: str
    made: Made = field(default_factory=Made)
    added: int = 0
    seconds: float = 0.0
    error: RepodojoError | None = None


async def make_all(
    sources: Sequence[str],
    path: Path,
    options: Options,
    factories: Factories,
    tell: Callable[[str], Tell],
    accept: Callable[[Task], bool] = lambda task: True,
) -> list[Line]:
    """Make tasks of each source in turn. A source that fails has its error in its line; the others go on.

    `accept` refuses sound tasks that are not wanted.

    Cancelling publishes what is whole of the current source and stops. Raises TaskError for a store that cannot be
    used, UserError where the disk is full.
    """
    lines: list[Line] = []
    with _nothing_half_written(path), disk_errors(path):
        store = TaskStore(path, create=True)
        for source in sources:
            line = Line(source)
            lines.append(line)
            started = time.monotonic()
            try:
                await _one(source, store, options, factories, tell(source), line, accept)
            except* RepodojoError as group:
                line.error = _first(group)
            line.seconds = time.monotonic() - started
    return lines


@contextmanager
def _nothing_half_written(path: Path) -> Iterator[None]:
    """A folder that this call made and that came to hold no tasks goes again."""
    fresh = not path.exists()
    try:
        yield
    finally:
        if fresh and not (path / "manifest.json").exists():
            shutil.rmtree(path, ignore_errors=True)


def _first(group: BaseExceptionGroup[RepodojoError]) -> RepodojoError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, RepodojoError)
    return found


async def _one(
    source: str,
    store: TaskStore,
    options: Options,
    factories: Factories,
    tell: Tell,
    line: Line,
    accept: Callable[[Task], bool],
) -> None:
    with tempfile.TemporaryDirectory(prefix="repodojo-source-") as scratch:
        tell("fetch", 0, 0)
        fetched = await asyncio.to_thread(fetch, source, Path(scratch))
        layout = await asyncio.to_thread(layout_of, fetched.root, fetched.name)
        package = canonical(layout.name)
        store.refuse_other_split(package, options.split)
        label = f"{package}=={layout.version}" if layout.version else package
        fetched = replace(fetched, label=fetched.label if "==" in fetched.label else label)
        store.path.mkdir(parents=True, exist_ok=True)
        _left_behind(store.path)
        staging = Path(tempfile.mkdtemp(prefix=f"{_STAGING}{os.getpid()}-", dir=store.path))
        try:
            factory = factories(staging)
            taken = store.functions(beside=options.split)
            maker = Maker(layout, fetched, staging, factory, options, tell, taken, accept, line.made)
            try:
                await maker.run()
            finally:
                await factory.close()
                if line.made.tasks:
                    line.added = _publish(store, staging, maker, package, line.made, source)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _left_behind(path: Path) -> None:
    """Staging folders of calls on this machine that were killed go."""
    for folder in path.glob(f"{_STAGING}*"):
        number = folder.name.removeprefix(_STAGING).partition("-")[0]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (PermissionError, ValueError):  # another's call, which runs
            continue


def _publish(store: TaskStore, staging: Path, maker: Maker, package: str, made: Made, address: str) -> int:
    """Move trees and dependencies into the store, then append the tasks."""
    for kind in ("trees", "sites"):
        for folder in (staging / kind).glob("[!.]*"):
            target = store.path / kind / folder.name
            target.parent.mkdir(exist_ok=True)
            if not target.exists():
                os.replace(folder, target)
    entry = {
        "split": maker.options.split,
        "source": maker.fetched.label,
        "address": str(Path(address).expanduser().resolve()) if Path(address).expanduser().exists() else address,
        "revision": maker.fetched.revision,
        "licence": maker.layout.licence,
        "seed": maker.options.seed,
        "kinds": sorted({task.labels["kind"] for task in made.tasks}),
        "max_lines": maker.options.max_lines,
        "limit": maker.options.limit,
        "made_with": f"repodojo {__version__}",
        "tree": made.tasks[0].environment.recipe["tree"],
        "funnel": dict(sorted(made.funnel.items())),
    }
    return len(store.append(made.tasks, package, entry))
