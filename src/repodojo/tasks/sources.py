"""A source as the user names it (a package, a folder, an archive, a Git URL), brought into a folder of its own."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from repodojo.core.errors import SourceError
from repodojo.tasks import index
from repodojo.tasks.layout import canonical

REQUIREMENT = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:==([A-Za-z0-9.+!_-]+))?$")
GIT = re.compile(r"^(git\+|git@|ssh://|git://|https?://|file://)")
ARCHIVES = (".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz")
LARGEST = 1 << 30


@dataclass(frozen=True)
class Fetched:
    """An unpacked source: its folder, the package's canonical name ("" where only its metadata can tell), revision."""

    root: Path
    name: str
    label: str
    revision: str
    repo: str = ""


def fetch(source: str, scratch: Path) -> Fetched:
    """Bring `source` into `scratch`; nothing of it is built or run.

    Raises SourceError for what cannot be found or read, with what to do about it.
    """
    path = Path(source).expanduser()
    if path.is_dir() and not _bare(path) and not (path / ".git").exists():
        return Fetched(path.resolve(), "", path.resolve().name, "")
    if path.is_file():
        return _archive(path, scratch, path.name)
    if GIT.match(source) or path.is_dir():
        return _git(source.removeprefix("git+"), scratch)
    if match := REQUIREMENT.match(source):
        name, version = match[1], match[2] or ""
        archive = index.find(name, version)
        found = _archive(index.download(archive, scratch), scratch, f"{canonical(name)}=={archive.version}")
        return Fetched(found.root, canonical(name), found.label, found.revision)
    raise SourceError(
        f"{source!r} is neither a package, a folder, an archive nor a Git URL",
        way_out="write e.g. toolz==1.0.0, ./my-package or https://example.org/project.git",
    )


def _archive(path: Path, scratch: Path, label: str) -> Fetched:
    if not path.name.endswith(ARCHIVES):
        raise SourceError(
            f"{path.name} is not an archive that can be read", way_out=f"give one of {' '.join(ARCHIVES)}"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    folder = scratch / f"unpacked-{digest[:12]}"
    try:
        if path.name.endswith(".zip"):
            _unzip(path, folder)
        else:
            with tarfile.open(path) as tar:
                if sum(member.size for member in tar.getmembers()) > LARGEST:
                    raise SourceError(f"{path.name} unpacks to more than 1 GiB", way_out="name a smaller package")
                tar.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise SourceError(f"{path.name} cannot be unpacked: {error}", way_out="fetch it anew") from None
    inside = [p for p in folder.iterdir() if p.is_dir()]
    root = inside[0] if len(inside) == 1 and not list(folder.glob("*.py")) else folder
    return Fetched(root, "", label, f"sha256:{digest}")


def _unzip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > LARGEST:
            raise SourceError(f"{path.name} unpacks to more than 1 GiB", way_out="name a smaller package")
        archive.extractall(folder)  # zipfile itself drops absolute paths and ".."


def _bare(path: Path) -> bool:
    return (path / "HEAD").is_file() and (path / "objects").is_dir()


def _git(url: str, scratch: Path) -> Fetched:
    """Clone one commit without history, hooks or submodules; `url@revision` names a branch or tag."""
    if shutil.which("git") is None:
        raise SourceError("git is not installed", way_out="install git, or name a package or a folder")
    address, _, revision = (
        url.rpartition("@") if re.search(r"[^/:@]@[\w./-]+$", url) and "://" in url else (url, "", "")
    )
    address = address or url
    folder = scratch / "clone"
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "clone", "-q", "--depth", "1"]
    command += ["--branch", revision] if revision else []
    environment = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    done = subprocess.run(
        [*command, "--", address, str(folder)], capture_output=True, text=True, check=False, env=_environ(environment)
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SourceError(f"{address} cannot be cloned: {last}", way_out="check the address, or clone it yourself")
    head = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    name = re.split(r"[/:]", address.rstrip("/").removesuffix(".git"))[-1]
    return Fetched(folder, "", name, head, repo=address)


def _environ(extra: dict[str, str]) -> dict[str, str]:
    import os

    return {**os.environ, **extra}
