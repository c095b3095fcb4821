"""What a box needs to run a package: its tree, its dependencies, its variables, as a recipe of content hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from repodojo.core.errors import SourceError
from repodojo.core.records import Environment
from repodojo.sandbox import bytecode
from repodojo.sandbox.local.boxroot import SITE
from repodojo.tasks.layout import Layout, canonical

WORK_DIR = "/testbed"


def put_tree(layout: Layout, store: Path, *, tests: bool = False) -> str:
    """Copy the package to `store/trees/<hash>`, its test files emptied, and return the hash of its contents.

    The empty files keep the names that a task may fill with a visible test; what they held stays on the host. With
    `tests` they are kept as they are: those of an old commit give nothing away.
    """
    digest = hashlib.sha256()
    contents: dict[str, bytes] = {}
    for relative in sorted(layout.files):
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


def put_site(layout: Layout, store: Path) -> str:
    """Install the package's dependencies to `store/sites/<hash>`; "" where there are none. Wheels only."""
    wanted = sorted(set(_requirements(layout)))
    if not wanted:
        return ""
    key = "\n".join([sys.version.split()[0], *wanted])
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    if (store / "sites" / name).is_dir():
        return name
    with filling(store / "sites", name) as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary", ":all:"]
        done = subprocess.run(
            [*command, "--disable-pip-version-check", "--target", str(folder), *wanted],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = next((x for x in done.stderr.splitlines() if "ERROR" in x), "pip gave no reason")
            raise SourceError(
                f"the dependencies of {layout.name} cannot be installed: {last}",
                way_out="check the network; a dependency without a wheel for this Python cannot be used",
            )
        bytecode.compile_tree(folder, SITE)
    return name


def environment(layout: Layout, tree: str, site: str) -> Environment:
    """The sound environment: no edits, no scripts."""
    root = f"{WORK_DIR}/{layout.import_root}" if layout.import_root else WORK_DIR
    variables = {"PYTHONPATH": root, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
    recipe = {"kind": "python", "tree": tree, "site": site, "edits": [], "scripts": {}}
    return Environment(recipe=recipe, work_dir=WORK_DIR, variables={**variables, "TZ": "UTC", "COLUMNS": "80"})


def _requirements(layout: Layout) -> list[str]:
    wanted: list[str] = []
    for line in layout.requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            requirement.marker = None
            wanted.append(str(requirement))
    return wanted


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
