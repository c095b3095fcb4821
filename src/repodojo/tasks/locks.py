"""From requirements to exact versions: of today, or of the day an old commit was made.

With `uv` on the path, its `--exclude-newer` does the dating, and it installs. Else pip resolves, and versions that the
index took in later are excluded until none is left; upload times are the index's (PEP 700), or those of its JSON pages.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from repodojo.core.errors import RepodojoError, SandboxError, SourceError
from repodojo.tasks import uploads, uv

PIP = (sys.executable, "-m", "pip")
QUIET = ("--quiet", "--disable-pip-version-check", "--only-binary", ":all:")
ROUNDS = 12
UNREACHED = re.compile(r"Retrying \(Retry|connection broken|error sending request|Failed to fetch|Read timed out")
Times = Callable[[str], Mapping[Version, str]]


@dataclass(frozen=True)
class Lock:
    """`pins` ("name==1.0", sorted) for this interpreter. `date` is "" where they are of today; `untold` names what
    the index has no times for, or had not before that day."""

    pins: tuple[str, ...]
    date: str = ""
    untold: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What names the folder that these are installed to: equal locks share one, whoever asked for them."""
        about = [sys.version.split()[0], sysconfig.get_platform(), *self.pins]
        return hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]


@dataclass
class Locks:
    """Resolves; a lock is used again while none of its packages has a newer version on the day that is asked for."""

    times: Times = uploads.times
    uv: str = field(default_factory=lambda: shutil.which("uv") or "")
    known: dict[tuple[str, ...], list[tuple[dict[str, Version | None], Lock]]] = field(default_factory=dict)

    def of(self, requires: Sequence[str], date: str = "") -> Lock:
        """The lock of requirements on a day (ISO date; "" for today).

        Raises SourceError with pip's or uv's reason, SandboxError where the index is out of reach.
        """
        key = ("dated" if date else "", *sorted(requires))
        if not requires:
            return Lock((), date)
        for newest, lock in self.known.get(key, []):
            if all(self._newest(name, date) == version for name, version in newest.items()):
                return lock
        lock = self._uv(requires, date) if self.uv else self._pip(requires, date)
        names = [pin.partition("==")[0] for pin in lock.pins]
        self.known.setdefault(key, []).append(({name: self._newest(name, date) for name in names}, lock))
        return lock

    def _newest(self, name: str, date: str) -> Version | None:
        """The newest version that was there at the end of a day; None where nothing is told, or for today."""
        there = [version for version, time in self.times(name).items() if time[:10] <= date] if date else []
        final = [version for version in there if not version.is_prerelease]
        return max(final or there, default=None)

    def _pip(self, requires: Sequence[str], date: str) -> Lock:
        """Resolve, exclude what is too new, and resolve again, until nothing is."""
        caps: dict[str, str] = {}
        untold: set[str] = set()
        for _ in range(ROUNDS):
            pins = _resolved(requires, [f"{name}{cap}" for name, cap in caps.items()], date)
            fresh = {name: self._cap(name, date) for name in pins if date and name not in caps and name not in untold}
            untold |= {name for name, cap in fresh.items() if not cap}
            fresh = {name: cap for name, cap in fresh.items() if cap}
            caps |= fresh
            if not fresh or all(_within(pins[name], cap) for name, cap in fresh.items()):
                break
        told = date if set(pins) - untold else ""
        return Lock(tuple(sorted(f"{n}=={v}" for n, v in pins.items())), told, tuple(sorted(untold)))

    def _cap(self, name: str, date: str) -> str:
        """Excludes what came after a day: by its newest version of then, and older numbers that came later."""
        newest = self._newest(name, date)
        if newest is None:
            return ""
        late = [v for v, time in self.times(name).items() if time[:10] > date and v < newest]
        return ",".join([f"<={newest}", *(f"!={version}" for version in sorted(late))])

    def _uv(self, requires: Sequence[str], date: str) -> Lock:
        """One call of `uv pip compile`."""
        done = uv.resolved(self.uv, requires, date)
        if done.returncode:
            raise _refused(requires, done.stderr, date)
        pins = [line.split(";")[0].strip() for line in done.stdout.splitlines() if "==" in line]
        return Lock(
            tuple(sorted(f"{canonicalize_name(n)}=={v}" for n, _, v in (p.partition("==") for p in pins))), date
        )


def _within(version: Version, cap: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(cap).contains(version, prereleases=True)


def _resolved(requires: Sequence[str], caps: Sequence[str], date: str) -> dict[str, Version]:
    """What pip would install into an empty folder."""
    with tempfile.TemporaryDirectory(prefix="repodojo-lock-") as folder:
        bounds, report = Path(folder, "caps.txt"), Path(folder, "report.json")
        bounds.write_text("\n".join(caps) + "\n")
        command = [*PIP, "install", *QUIET, "--dry-run", "--ignore-installed", "--report", str(report)]
        done = subprocess.run(
            [*command, "-c", str(bounds), *requires], capture_output=True, text=True, check=False, cwd=folder
        )
        if done.returncode:
            raise _refused(requires, done.stderr, date)
        found = [row["metadata"] for row in json.loads(report.read_text())["install"]]
    return {canonicalize_name(row["name"]): Version(row["version"]) for row in found}


def _refused(requires: Sequence[str], said: str, date: str) -> RepodojoError:
    """SourceError with the reason; SandboxError where the index was not reached, which says nothing of the wish."""
    if UNREACHED.search(said):
        return SandboxError("the package index cannot be reached", way_out="check the network, then try again")
    lines = [re.sub(r"^\W*(ERROR|error)?\s*:?\s*", "", x.strip()) for x in said.splitlines() if x.strip()]
    why = next((x for x in lines if "No matching" in x or "conflict" in x.lower()), (lines or ["no reason given"])[-1])
    day = f" as of {date}" if date else ""
    return SourceError(
        f"{', '.join(requires)}{day} cannot be had for Python {sys.version.split()[0]}: {why[:300].rstrip('.')}",
        way_out="check the network; what has no wheel for this Python cannot be used",
    )


def install(lock: Lock, folder: Path, program: str = "") -> None:
    """Put exactly these versions into a folder, by uv where `program` names it; SourceError with its reason."""
    folder = folder.absolute()  # neither program runs where we do
    if program:
        done = uv.installed(program, lock.pins, folder)
    else:
        command = [*PIP, "install", *QUIET, "--no-compile", "--no-deps", "--target", str(folder)]
        done = subprocess.run([*command, *lock.pins], capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        raise _refused(lock.pins, done.stderr, "")
