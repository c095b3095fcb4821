"""Files below a folder, safe against whatever was planted there: no link is followed, no FIFO waited on.

Each component is opened from the one before with O_NOFOLLOW, so that a path cannot leave its root; only regular
files are read. Errors are those of the host: FileNotFoundError, IsADirectoryError, NotADirectoryError, or an OSError
that says what was refused.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

IGNORED_NAMES = frozenset(
    {"__pycache__", ".pytest_cache", ".git", ".hypothesis", ".mypy_cache", ".ruff_cache", ".coverage"}
)
"""What tools leave behind as they run; hypothesis writes a hundred files at a test's first run."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def parts_of(path: str, work_dir: str) -> tuple[str, ...]:
    """Components of a path from the box's root; relative ones start at `work_dir`, and `..` is resolved as text."""
    if "\0" in path:
        raise OSError(errno.EINVAL, "a path cannot hold NUL", path)
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise OSError(errno.EINVAL, "a path cannot hold half a surrogate pair", ascii(path)) from None
    joined = posixpath.normpath(posixpath.join(work_dir, path))
    return tuple(part for part in joined.split("/") if part)


def ignored(path: str) -> bool:
    """Whether a path is a by-product (what tools keep, compiled files, .git) that no change speaks of."""
    return path.endswith(".pyc") or any(part in IGNORED_NAMES for part in path.split("/"))


def open_root(folder: str | os.PathLike[str]) -> int:
    """A descriptor of the folder that paths are resolved in."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@contextmanager
def rooted(folder: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of `folder` for as long as the block runs."""
    root = open_root(folder)
    try:
        yield root
    finally:
        os.close(root)


def _enter(parent: int, name: str, make: bool, shown: str) -> int:
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=parent)
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "symbolic links are not followed", shown) from None
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), shown) from None
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), shown) from None


def open_folder(root: int, parts: Sequence[str], *, make: bool = False) -> int:
    """A descriptor of the folder at `parts` below `root`; the caller closes it. `make` creates what is missing."""
    shown = "/".join(parts)
    current = os.dup(root)
    for name in parts:
        try:
            following = _enter(current, name, make, shown)
        finally:
            os.close(current)
        current = following
    return current


def read_file(root: int, parts: Sequence[str], cap: int) -> bytes:
    """Bytes of a regular file; EFBIG where it is longer than `cap`."""
    shown = "/".join(parts)
    if not parts:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), shown)
    parent = open_folder(root, parts[:-1])
    try:
        try:
            handle = os.open(
                parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=parent
            )
        except OSError as error:
            text = "symbolic links are not followed" if error.errno == errno.ELOOP else os.strerror(error.errno or 0)
            raise OSError(error.errno, text, shown) from None
    finally:
        os.close(parent)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), shown)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", shown)
        return _drain(handle, cap, shown)
    finally:
        os.close(handle)


def _drain(handle: int, cap: int, shown: str) -> bytes:
    data = bytearray()
    while part := os.read(handle, 1 << 20):
        data += part
        if len(data) > cap:
            raise OSError(errno.EFBIG, f"longer than {cap} bytes", shown)
    return bytes(data)


def write_file(root: int, parts: Sequence[str], data: bytes) -> None:
    """Write a regular file; missing parents are made. A planted link or special file is refused, not followed."""
    shown = "/".join(parts)
    if not parts:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), shown)
    parent = open_folder(root, parts[:-1], make=True)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            handle = os.open(parts[-1], flags, 0o644, dir_fd=parent)
        except OSError as error:
            text = "symbolic links are not followed" if error.errno == errno.ELOOP else os.strerror(error.errno or 0)
            raise OSError(error.errno, text, shown) from None
    finally:
        os.close(parent)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", shown)
        os.ftruncate(handle, 0)
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)


def delete_file(root: int, parts: Sequence[str]) -> None:
    """Remove a file (or a link itself); IsADirectoryError for a folder."""
    shown = "/".join(parts)
    if not parts:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), shown)
    parent = open_folder(root, parts[:-1])
    try:
        mode = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), shown)
        os.unlink(parts[-1], dir_fd=parent)
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), shown) from None
    finally:
        os.close(parent)


def list_folder(root: int, parts: Sequence[str]) -> list[str]:
    """Sorted names; folders end in a slash, links do not."""
    handle = open_folder(root, parts)
    try:
        with os.scandir(handle) as entries:
            return sorted(e.name + "/" if e.is_dir(follow_symlinks=False) else e.name for e in entries)
    finally:
        os.close(handle)
