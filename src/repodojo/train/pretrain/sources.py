"""The sources that the base reads, unpacked and kept. Nothing of them is built or run.

Wheels come first, because they hold no tests and no build files and pip fetches them without running anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from email.parser import HeaderParser
from pathlib import Path

from repodojo.core.errors import ConfigError, SourceError
from repodojo.tasks import sources
from repodojo.train import splits
from repodojo.train.events import Watcher


@dataclass(frozen=True)
class Package:
    """An unpacked source: where it lies, what it is, and a digest of what was fetched."""

    requirement: str
    version: str
    licence: str
    digest: str
    root: str


def read_list(path: Path) -> tuple[str, ...]:
    """The requirements of a list file; what holds a slash is a folder, made absolute. ConfigError where unreadable."""
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", way_out="give a text file, one package a line") from None
    found = [str((path.parent / line).resolve()) if "/" in line else line for line in lines if line]
    if not found:
        raise ConfigError(f"{path} names no package", way_out="write one requirement or folder a line")
    return tuple(dict.fromkeys(found))


def refuse_measured(requirements: Sequence[str]) -> None:
    """ConfigError where a package is one that figures are measured on: the base must not have read it."""
    for requirement in requirements:
        path = Path(requirement)
        local = path.is_absolute() and path.is_dir()
        near = [path, *path.glob("*"), *path.glob("src/*")] if local else []
        names = [re.sub(r"-\d.*$|\.py$", "", p.name) for p in near] or [splits.name_of(requirement)]
        if splits.measured(names):
            cause = f"{requirement} belongs to the dev or held-out split: figures on it would mean nothing"
            raise ConfigError(cause, way_out="leave it out of the list")


def fetch_all(requirements: Sequence[str], work: Path, watcher: Watcher) -> tuple[list[Package], list[tuple[str, str]]]:
    """What could be fetched into `work`, and what could not, with the reason. What is there is not fetched again."""
    found: list[Package] = []
    missed: list[tuple[str, str]] = []
    watcher.phase("sources", len(requirements))
    for requirement in requirements:
        try:
            found.append(fetch(requirement, work))
        except SourceError as error:
            missed.append((requirement, error.cause))
        watcher.advance(note=requirement)
    return found, missed


def fetch(requirement: str, work: Path) -> Package:
    """One package or local folder; SourceError where it cannot be had."""
    local = Path(requirement)
    if local.is_absolute():
        if not local.is_dir():
            raise SourceError(f"{local} is not a folder", way_out="correct the list")
        version, licence = _about(local)
        return Package(local.name, version, licence, _digest(local), str(local))
    folder = work / re.sub(r"[^\w.=+-]", "_", requirement)
    if not (folder / "about.json").is_file():
        _fetch_into(requirement, folder)
    return Package(**json.loads((folder / "about.json").read_text()), root=str(folder / "files"))


def _fetch_into(requirement: str, folder: Path) -> None:
    """Download and unpack beside `folder`, then rename: a kill leaves no half of it."""
    scratch = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        wheel = _wheel(requirement, scratch)
        if wheel is not None:
            _unzip(wheel, scratch / "files")
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            wheel.unlink()
        else:
            fetched = sources.fetch(requirement, scratch)
            digest = fetched.revision.removeprefix("sha256:")
            fetched.root.rename(scratch / "files")
        version, licence = _about(scratch / "files")
        about = asdict(Package(requirement, version, licence, digest, ""))
        about.pop("root")
        (scratch / "about.json").write_text(json.dumps(about))
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _wheel(requirement: str, folder: Path) -> Path | None:
    """The wheel that pip would install here, fetched; None where the index has none, or pip is not there."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), "--", requirement]
    subprocess.run(command, capture_output=True, check=False)
    return next(iter(folder.glob("*.whl")), None)


def _unzip(wheel: Path, folder: Path) -> None:
    """Python files and metadata only; zipfile itself drops absolute paths and ".."."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            wanted = [i for i in archive.infolist() if i.filename.endswith((".py", ".dist-info/METADATA"))]
            if sum(info.file_size for info in wanted) > sources.LARGEST:
                raise SourceError(f"{wheel.name} unpacks to more than 1 GiB", way_out="leave it out of the list")
            archive.extractall(folder, wanted)
    except (zipfile.BadZipFile, EOFError) as error:
        raise SourceError(f"{wheel.name} cannot be unpacked: {error}", way_out="fetch it anew") from None


def _about(root: Path) -> tuple[str, str]:
    """Version and licence from a package's metadata, "" where it does not say."""
    for pattern in ("*.dist-info/METADATA", "PKG-INFO", "*.egg-info/PKG-INFO", "src/*.egg-info/PKG-INFO"):
        for path in root.glob(pattern):
            headers = HeaderParser().parsestr(path.read_text(errors="replace"))
            said = [headers.get("License-Expression", ""), headers.get("License", "")]
            said += [c.rpartition(" :: ")[2] for c in headers.get_all("Classifier", []) if c.startswith("License")]
            short = (s.strip() for s in said if s.strip() and "\n" not in s.strip() and len(s) < 80)
            return headers.get("Version", ""), next(short, "")
    return "", ""


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if path.is_file():
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
