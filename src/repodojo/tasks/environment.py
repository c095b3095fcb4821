"""What a box needs to run a package: its tree, its dependencies, its variables, as a recipe of content hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from repodojo.core.errors import SourceError
from repodojo.core.records import Environment
from repodojo.sandbox import bytecode
from repodojo.sandbox.local.boxroot import SITE
from repodojo.tasks.layout import Layout, canonical
from repodojo.tasks.locks import Lock, Locks, install
from repodojo.tasks.needs import needs_of

WORK_DIR = "/testbed"
CONFTEST = "conftest.py"
LINKED = b"node_modules"
"""What a tree's name begins to hash where a link in it leads to installed modules."""


def put_tree(layout: Layout, store: Path, *, tests: bool = False) -> str:
    """Copy the package to `store/trees/<hash>`, its test files emptied, and return the hash of its contents.

    The empty files keep the names that a task may fill with a visible test; what they held stays on the host. With
    `tests` they are kept as they are: those of an old commit give nothing away; so is what they share, a conftest.py.
    """
    digest = hashlib.sha256()
    contents: dict[str, bytes] = {}
    shared = [CONFTEST] if tests and (layout.root / CONFTEST).is_file() else []
    for relative in sorted({*layout.files, *shared}):
        contents[relative] = (layout.root / relative).read_bytes()
    contents |= {path: (layout.root / path).read_bytes() if tests else b"" for path in layout.tests}
    contents[f"{_egg(layout)}/PKG-INFO"] = _pkg_info(layout).encode()
    for relative, data in sorted(contents.items()):
        digest.update(f"{relative}\0{len(data)}\0".encode() + data)
    name = digest.hexdigest()[:16]
    if not (store / "trees" / name).is_dir():
        with filling(store / "trees", name) as folder:
            for relative, data in contents.items():
                (folder / relative).parent.mkdir(parents=True, exist_ok=True)
                (folder / relative).write_bytes(data)
            bytecode.compile_tree(folder, WORK_DIR)
    return name


@dataclass(frozen=True)
class Layer:
    """What a package's dependencies became: the folder below sites/ ("" for none), and the day that they are of ("" for
    today)."""

    site: str = ""
    date: str = ""


def put_site(layout: Layout, store: Path) -> str:
    """Install the package's dependencies to `store/sites/<hash>`; "" where there are none. Wheels only."""
    return put_layer(layout, store, Locks()).site


def put_layer(layout: Layout, store: Path, locks: Locks, date: str = "") -> Layer:
    """Install what the package and its tests need, as it was on a day (ISO date; "" for today): once for each lock.

    Where that cannot be had, it is tried without what only the tests need, then as of today. Raises SourceError where
    this interpreter or the index does not serve, with the first reason.
    """
    needs, version = needs_of(layout.root, layout.name, layout.tests), sys.version.split()[0]
    if not needs.allows(version):
        raise SourceError(
            f"{layout.name} wants Python {needs.python}, and this is {version}",
            way_out="run Repodojo with such an interpreter: boxes have the one that it runs with",
        )
    everything = (*needs.requires, *needs.tests)
    first: SourceError | None = None
    for wanted, day in dict.fromkeys((w, d) for d in (date, "") for w in (everything, needs.requires)):
        try:
            lock = locks.of(wanted, day)
            return Layer(_put(lock, store, locks.uv), lock.date)
        except SourceError as error:
            first = first or error
    assert first is not None
    raise first


def _put(lock: Lock, store: Path, uv: str) -> str:
    """The lock's folder below sites/, and beside it the list of what is in it."""
    if not lock.pins:
        return ""
    if not (store / "sites" / lock.key).is_dir():
        with filling(store / "sites", lock.key) as folder:
            install(lock, folder, uv)
            bytecode.compile_tree(folder, SITE)
        (store / "sites" / f"{lock.key}.txt").write_text("\n".join([f"# {sys.version.split()[0]}", *lock.pins, ""]))
    return lock.key


def environment(layout: Layout, tree: str, site: str) -> Environment:
    """The sound environment: no edits, no scripts."""
    root = f"{WORK_DIR}/{layout.import_root}" if layout.import_root else WORK_DIR
    variables = {"PYTHONPATH": root, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
    recipe = {"kind": "python", "tree": tree, "site": site, "edits": [], "scripts": {}}
    return Environment(recipe=recipe, work_dir=WORK_DIR, variables={**variables, "TZ": "UTC", "COLUMNS": "80"})


def _egg(layout: Layout) -> str:
    base = f"{layout.import_root}/" if layout.import_root else ""
    return f"{base}{canonical(layout.name).replace('-', '_')}.egg-info"


def _pkg_info(layout: Layout) -> str:
    return f"Metadata-Version: 2.1\nName: {layout.name}\nVersion: {layout.version or '0'}\n"


class filling:
    """A folder that appears whole or not at all."""

    def __init__(self, parent: Path, name: str) -> None:
        self.parent, self.name = parent, name

    def __enter__(self) -> Path:
        self.parent.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=".part-", dir=self.parent))
        return self.folder

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self.folder.chmod(0o755)
            try:
                os.replace(self.folder, self.parent / self.name)
                return
            except OSError:
                if not (self.parent / self.name).is_dir():
                    raise
        shutil.rmtree(self.folder, ignore_errors=True)
