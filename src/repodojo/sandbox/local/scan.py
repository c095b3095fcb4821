"""What the overlay's upper folder holds: every path that differs from the tree below it, and nothing else."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from repodojo.sandbox import safefiles

_DEPTH = 64
_OPAQUE = "user.overlay.opaque"


@dataclass
class Found:
    """Regular files (path, size) with their bytes in `blob`, deleted paths, folders that hide those below, refusals."""

    files: list[tuple[str, int]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    opaque: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    blob: bytearray = field(default_factory=bytearray)


def scan(upper: int, caps: tuple[int, int]) -> Found:
    """Walk the upper folder without following anything. Files over `caps` (each, all) are refused, as is
    what is no regular file."""
    found = Found()
    pending: list[tuple[str, ...]] = [()]
    while pending:
        parts = pending.pop()
        handle = safefiles.open_folder(upper, parts)
        try:
            if parts and _is_opaque(handle):
                found.opaque.append("/".join(parts))
            with os.scandir(handle) as entries:
                names = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
        finally:
            os.close(handle)
        for name, status in names:
            if _sort(found, upper, (*parts, name), status, caps):
                pending.append((*parts, name))
    return found


def _sort(
    found: Found,
    upper: int,
    parts: tuple[str, ...],
    status: os.stat_result,
    caps: tuple[int, int],
) -> bool:
    """File one entry where it belongs; True for a folder to walk into."""
    path = "/".join(parts)
    if safefiles.ignored(path):
        return False
    if stat.S_ISDIR(status.st_mode) and len(parts) < _DEPTH:
        return True
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        found.deleted.append(path)
    elif not stat.S_ISREG(status.st_mode) or not path.isprintable() or _too_long(found, status.st_size, caps):
        found.refused.append(path)
    else:
        data = safefiles.read_file(upper, parts, caps[0])
        found.files.append((path, len(data)))
        found.blob += data
    return False


def _too_long(found: Found, size: int, caps: tuple[int, int]) -> bool:
    return size > caps[0] or len(found.blob) + size > caps[1]


def _is_opaque(handle: int) -> bool:
    try:
        return os.getxattr(handle, _OPAQUE) == b"y"
    except OSError:
        return False
