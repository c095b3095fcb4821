"""What makes a box, as data: system calls in order. The fork server's Python performs them, or the C maker (steps.h).

So a box is described once, and what isolates it cannot differ between the two. A step is a letter and its fields; all
of them are known to the host, and a box needs nothing else from it.
"""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from repodojo.sandbox.local import seccomp, syscalls

_LENGTH = struct.Struct("=I")


class Step(NamedTuple):
    """One call; `fields` are text or bytes, as the letter asks for."""

    letter: str
    fields: tuple[str | bytes, ...] = ()


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> Step:
    """mount(2)."""
    return Step("M", (source, target, kind, str(flags), data))


def bind(source: str, target: str) -> Step:
    """A recursive bind: a plain one is refused where mounts of a more privileged namespace lie below."""
    return mount(source, target, "", syscalls.MS_BIND | syscalls.MS_REC)


def folder(path: str, mode: int = 0o755) -> Step:
    """A folder, if it is not there."""
    return Step("D", (path, str(mode)))


def link(target: str, path: str) -> Step:
    """A symbolic link at `path`."""
    return Step("L", (target, path))


def file(path: str, data: bytes, mode: int = 0) -> Step:
    """Write a file; `mode` 0 leaves its permissions alone."""
    return Step("F", (path, str(mode), data))


def remove(path: str) -> Step:
    """Remove a file, if it is there."""
    return Step("U", (path,))


def read_only(path: str) -> Step:
    """Make the mount at `path` read-only, without those below."""
    return Step("A", (path,))


def keep(path: str) -> Step:
    """Open a folder, whose descriptor is what `perform` returns."""
    return Step("O", (path,))


def enter_root(path: str) -> Step:
    """Make the mount at `path` the root, over the old one (`syscalls.cover_root`)."""
    return Step("P", (path,))


def loopback() -> Step:
    """Bring `lo` up."""
    return Step("N")


def host_name(name: str) -> Step:
    """sethostname(2)."""
    return Step("H", (name,))


def map_user(inner: int, uid: int, gid: int) -> list[Step]:
    """Show a user and a group as `inner` in the user namespace just entered."""
    texts = (("setgroups", "deny"), ("uid_map", f"{inner} {uid} 1"), ("gid_map", f"{inner} {gid} 1"))
    return [file(f"/proc/self/{name}", text.encode()) for name, text in texts]


def confined(limits: Mapping[str, Any], own: int) -> list[Step]:
    """No privileges, the filter, and limits of the process and of all it starts; `own` processes are no jobs."""
    memory = int(limits["memory_mb"]) << 20
    bounds = (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_NPROC, int(limits["processes"]) + own),
        (resource.RLIMIT_FSIZE, int(limits["disk_mb"]) << 20),
        (resource.RLIMIT_NOFILE, 1024),
        (resource.RLIMIT_CORE, 0),
    )
    steps = [Step("C"), *(Step("R", (str(kind), str(value))) for kind, value in bounds)]
    if seccomp.supported():
        steps.append(Step("S", (seccomp.program(os.uname().machine),)))
    return steps


def yield_memory_first() -> Step:
    """Where the machine runs short, a box goes first, not the training."""
    return file("/proc/self/oom_score_adj", b"500")


# ------------------------------------------------------------ in C's hands


def encode(steps: Iterable[Step]) -> bytes:
    """Each step as its letter, its number of fields, and each field: four bytes of length, the bytes, a NUL.

    >>> encode([host_name("box")])[:2]
    b'H\\x01'
    """
    parts = bytearray()
    for letter, fields in steps:
        parts += letter.encode() + bytes((len(fields),))
        for field in fields:
            data = os.fsencode(field)
            parts += _LENGTH.pack(len(data)) + data + b"\0"
    return bytes(parts)


# ------------------------------------------------------------ in Python's hands


def perform(steps: Iterable[tuple[str, tuple[Any, ...]]]) -> int:
    """Make them, in order; the descriptor of what was kept, or -1. OSError names the call that failed."""
    kept = -1
    for letter, fields in steps:
        result = _CALLS[letter](*fields)
        kept = kept if result is None else result
    return kept


def _folder(path: str, mode: str) -> None:
    if not os.path.isdir(path):
        os.mkdir(path, int(mode))
        os.chmod(path, int(mode))


def _file(path: str, mode: str, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        if int(mode):
            os.fchmod(handle, int(mode))
    finally:
        os.close(handle)


def _remove(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)


def _keep(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _confine() -> None:
    os.umask(0o022)
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)


def _limit(kind: str, value: str) -> None:
    _, hard = resource.getrlimit(int(kind))
    bound = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
    resource.setrlimit(int(kind), (bound, bound))


_CALLS: Mapping[str, Callable[..., int | None]] = {
    "M": lambda source, target, kind, flags, data: syscalls.mount(source, target, kind, int(flags), data),
    "D": _folder,
    "L": os.symlink,
    "F": _file,
    "U": _remove,
    "A": lambda path: syscalls.mount_attributes(path, syscalls.ATTR_RDONLY, recursive=False),
    "O": _keep,
    "P": syscalls.cover_root,
    "N": syscalls.loopback_up,
    "H": syscalls.set_host_name,
    "C": _confine,
    "R": _limit,
    "S": seccomp.install,
}
