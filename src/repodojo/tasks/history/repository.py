"""Plain `git` on a repository: opened where it is, or cloned whole; nothing of it is ever run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from repodojo.core.errors import SourceError

QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C.UTF-8", "GIT_OPTIONAL_LOCKS": "0"}
SAFE = ("-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false", "-c", "protocol.ext.allow=never")
PIECE = 1 << 16


@dataclass(frozen=True)
class Repository:
    """A repository with its history. `folder` is its Git directory, `name` the last part of its address."""

    folder: Path
    address: str
    name: str

    def raw(self, *words: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> bytes:
        """What a git command prints; SourceError with its last words where it fails."""
        done = subprocess.run(
            ["git", *SAFE, f"--git-dir={self.folder}", *words],
            input=stdin,
            capture_output=True,
            check=False,
            env={**os.environ, **QUIET, **(env or {})},
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise SourceError(f"git {words[0]} failed: {said[-1]}", way_out="check the repository and the revision")
        return done.stdout

    def text(self, *words: str) -> str:
        """The same as text; what is not UTF-8 is replaced."""
        return self.raw(*words).decode(errors="replace")

    def stream(self, *words: str, until: str) -> Iterator[str]:
        """What a git command prints, in pieces that end with `until`, while it is still printing."""
        command = ["git", *SAFE, f"--git-dir={self.folder}", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **QUIET}) as running:
            assert running.stdout is not None
            left = b""
            while piece := running.stdout.read(PIECE):
                *whole, left = (left + piece).split(until.encode())
                yield from (part.decode(errors="replace") for part in whole)
            yield left.decode(errors="replace")
        if running.returncode:
            raise SourceError(f"git {words[0]} failed", way_out="check the repository and the revision")

    def count(self, revision: str, limit: int = 0) -> int:
        """Commits that `revision` reaches, `limit` (0: all) at most."""
        most = [f"--max-count={limit}"] if limit else []
        return int(self.text("rev-list", "--count", *most, revision, "--"))

    def checkout(self, commit: str, folder: Path) -> None:
        """The files of a commit in a folder (all of them: what `export-ignore` would leave out too)."""
        folder.mkdir(parents=True, exist_ok=True)
        env = {"GIT_INDEX_FILE": str(folder.with_name(folder.name + ".index"))}
        self.raw("read-tree", commit, env=env)
        self.raw(f"--work-tree={folder}", "checkout-index", "--all", "--force", f"--prefix={folder}/", env=env)

    def file(self, commit: str, path: str) -> bytes:
        """A file as a commit has it."""
        return self.raw("cat-file", "blob", f"{commit}:{path}")

    def diff(self, parent: str, commit: str, paths: Sequence[str]) -> str:
        """The patch of some files between two commits; "" for no files."""
        if not paths:
            return ""
        words = ("diff", "--no-color", "--no-ext-diff", "--no-renames", "--full-index", parent, commit, "--", *paths)
        return self.raw(*words).decode(errors="surrogateescape")


def opened(source: str, scratch: Path) -> Repository:
    """The repository at a path, or a full clone of an address; SourceError where there is none."""
    if shutil.which("git") is None:
        raise SourceError("git is not installed", way_out="install git")
    path = Path(source).expanduser()
    name = re.split(r"[/:]", source.rstrip("/").removesuffix(".git"))[-1]
    if path.is_dir():
        for folder in (_git_folder(path), path):
            if (folder / "HEAD").is_file() and ((folder / "objects").is_dir() or (folder / "commondir").is_file()):
                return Repository(folder.resolve(), str(path), path.resolve().name.removesuffix(".git"))
        raise SourceError(f"{source} holds no Git history", way_out="name a repository, not a plain folder")
    folder = scratch / "clone.git"
    command = ["git", *SAFE, "clone", "-q", "--bare", "--", source.removeprefix("git+"), str(folder)]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, **QUIET})
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise SourceError(f"{source} cannot be cloned: {said[-1]}", way_out="check the address, or clone it yourself")
    return Repository(folder, source, name)


def _git_folder(path: Path) -> Path:
    """Where a working tree's Git directory is: in worktrees and submodules `.git` is a file that names it."""
    link = path / ".git"
    if link.is_file():
        return path / link.read_text(errors="replace").strip().removeprefix("gitdir:").strip()
    return link
