"""The plan of a fork server on this machine: which interpreter, which packages of ours, what is hidden, which user."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import shutil
import site
import sys
import sysconfig
from pathlib import Path

from repodojo.core import doctests
from repodojo.sandbox import bytecode
from repodojo.sandbox.local.skeleton import GUEST, Plan
from repodojo.sandbox.local.warm import KIT_NAMES

DOCTESTS = "boxdoctest.py"
_USERS = (1_900_000_000, 65533)  # unassigned anywhere, else the last before `nobody`


def interpreter() -> str:
    """The real file of the running interpreter, outside any virtual environment."""
    base: str = getattr(sys, "_base_executable", sys.executable)
    return os.path.realpath(base)


def plan(scratch: Path, store: Path, init: Path | None = None) -> Plan:
    """Make the folders it names and return it. `scratch` is a private temporary folder; `init` is a C init to use."""
    for folder in (scratch / "root", scratch / "bases", scratch / "none"):
        folder.mkdir(exist_ok=True)
    given = {kind: store / kind if (store / kind).is_dir() else scratch / "none" for kind in ("trees", "sites")}
    return Plan(
        scratch=str(scratch / "root"),
        trees=str(given["trees"].resolve()),
        bases=str(scratch / "bases"),
        sites=str(given["sites"].resolve()),
        guest=str(_guest()),
        interpreters=_interpreters(),
        masked=_masked(),
        kit=kit(),
        init=str(init or ""),
    )


def _guest() -> Path:
    """The folder of what runs inside boxes, compiled where that is allowed (elsewhere each run compiles it)."""
    folder = Path(__file__).parent.parent / "guest"
    if os.access(folder, os.W_OK):
        bytecode.compile_tree(folder, GUEST)
    return folder


def kit() -> tuple[tuple[str, str], ...]:
    """(name, path) of pytest and what it needs, as this interpreter has them, and of what host and boxes share."""
    found = [(DOCTESTS, doctests.__file__)]
    for name in KIT_NAMES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            path = Path(spec.origin)
            path = path.parent if path.name == "__init__.py" else path
            found.append((path.name, str(path)))
    return tuple(found)


@functools.cache
def warm_fits(site_folder: Path | None) -> bool:
    """Whether a site's own pytest (or what it needs) is of the version that warm runs have imported already."""
    if site_folder is None:
        return True
    for info in site_folder.glob("*.dist-info"):
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        if name in KIT_NAMES and version != importlib.metadata.version(name):
            return False
    return True


def _interpreters() -> tuple[str, ...]:
    """Installation prefixes of the interpreter that lie outside /usr."""
    prefixes = {os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix), sys.base_prefix}
    prefixes |= {str(Path(interpreter()).parent.parent)}
    outside = sorted(prefix for prefix in prefixes if not f"{prefix}/".startswith("/usr/") and prefix != "/")
    return tuple(p for p in outside if not any(p != q and p.startswith(f"{q}/") for q in outside))


def _masked() -> tuple[str, ...]:
    """Package folders of the base installation: a copy of the code to be mended may lie there."""
    names = {
        sysconfig.get_path(kind, vars={"base": sys.base_prefix, "platbase": sys.base_prefix})
        for kind in ("purelib", "platlib")
    }
    names |= set(site.getsitepackages([sys.base_prefix]))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    names |= {"/usr/lib/python3/dist-packages", f"/usr/lib/{version}/site-packages"}
    names |= {f"/usr/local/lib/{version}/{kind}-packages" for kind in ("dist", "site")}
    visible = ("/usr/", *(f"{prefix}/" for prefix in _interpreters()))
    return tuple(
        sorted({os.path.realpath(n) for n in names if os.path.isdir(n) and os.path.realpath(n).startswith(visible)})
    )


def box_uid() -> int:
    """The user that boxes run as: oneself, or for root one who owns nothing (as root a box could set sysctls)."""
    if os.geteuid():
        return os.geteuid()
    ranges = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    for user in _USERS:
        if any(first <= user < first + count for first, _, count in ranges):
            return user
    return _USERS[-1]


def usable(path: Path, uid: int, *, writable: bool) -> bool:
    """Whether boxes can use a folder as it is: readable by their user, and owned by him where they shadow it."""
    if path.is_symlink():
        return False  # what it leads to is not in the boxes' view of the store
    status = path.stat()
    if writable:
        return status.st_uid == uid and status.st_mode & 0o700 == 0o700
    return bool(status.st_uid == uid or status.st_mode & 0o005 == 0o005)


def adopt(source: Path, target: Path, uid: int) -> None:
    """Copy a folder so that `uid` owns it and may write; appears whole or not at all."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copytree(source, partial, symlinks=True)
    for here, folders, names in os.walk(partial):
        for path in (here, *(os.path.join(here, name) for name in (*folders, *names))):
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode | (0o755 if os.path.isdir(path) else 0o644))
            if os.geteuid() == 0:
                os.chown(path, uid, uid, follow_symlinks=False)
    partial.rename(target)
