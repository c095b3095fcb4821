"""The fork server's own root: only what an interpreter and a shell need, read-only, at the paths they have outside.

It is built once. Each box binds from it, so a home folder, other site-packages, or the store's other files are not
hidden from boxes: they are not there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repodojo.sandbox.local import syscalls

SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
GUEST, KIT, INIT = "/opt/box/lib", "/opt/box/kit", "/opt/box/init"
TREES, BASES, SITES, SPARE = "/trees", "/bases", "/sites", "/box"
INNER_UID = 1000
_DEVICES = ("null", "zero", "full", "random", "urandom")
_ETC_SHARED = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d")
_ETC = {
    "passwd": f"root:x:0:0:root:/root:/bin/sh\nbox:x:{INNER_UID}:{INNER_UID}:box:/tmp:/bin/bash\n",
    "group": f"root:x:0:\nbox:x:{INNER_UID}:\n",
    "hosts": "127.0.0.1 localhost box\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


@dataclass(frozen=True)
class Plan:
    """What the host knows and the fork server needs; paths of the host. `init` is the C init, "" for Python's."""

    scratch: str
    trees: str
    bases: str
    sites: str
    guest: str
    interpreters: tuple[str, ...]
    masked: tuple[str, ...]
    kit: tuple[tuple[str, str], ...]
    init: str = ""


def plan_from(fields: Mapping[str, Any]) -> Plan:
    """A plan that has been through JSON."""
    listed = {name: tuple(fields[name]) for name in ("interpreters", "masked")}
    return Plan(**{**fields, **listed, "kit": tuple((name, path) for name, path in fields["kit"])})


def shared_paths(plan: Plan) -> list[str]:
    """What every box binds from the fork server's root, parents before children."""
    return ["/usr", "/etc", "/dev", GUEST, KIT, *plan.interpreters]


def links() -> list[tuple[str, str]]:
    """Top-level links such as /bin -> usr/bin, as (name, target)."""
    return [(name, os.readlink(f"/{name}")) for name in SYSTEM if os.path.islink(f"/{name}")]


def folders() -> list[str]:
    """Top-level system folders that are folders of their own."""
    return [f"/{name}" for name in SYSTEM if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")]


def build(plan: Plan) -> None:
    """Mount the skeleton and make it this process's root. Needs a mount namespace of one's own and CAP_SYS_ADMIN."""
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    root = plan.scratch
    syscalls.mount("tmpfs", root, "tmpfs", syscalls.MS_NOSUID, "mode=755,size=1m")
    for name, target in links():
        os.symlink(target, f"{root}/{name}")
    for path in ["/usr", *folders(), *plan.interpreters]:
        bind_read_only(path, root + path)
    for path in plan.masked:
        syscalls.mount("tmpfs", root + path, "tmpfs", syscalls.MS_NOSUID, "mode=755,size=4k,ro")
    _etc(root)
    _devices(root)
    bind_read_only(plan.guest, root + GUEST)
    for name, path in plan.kit:
        bind_read_only(path, f"{root}{KIT}/{name}")
    if plan.init:
        bind_read_only(plan.init, root + INIT)
    for path, target in ((plan.trees, TREES), (plan.bases, BASES), (plan.sites, SITES)):
        bind_read_only(path, root + target)
    os.mkdir(root + SPARE)
    os.makedirs(f"{root}/proc")
    syscalls.mount("proc", f"{root}/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    syscalls.enter_root(root)


def bind_read_only(source: str, target: str) -> None:
    """Show a file or folder of the host at `target`, read-only."""
    make_point(source, target)
    syscalls.bind(source, target)
    syscalls.mount_attributes(target, syscalls.ATTR_RDONLY | syscalls.ATTR_NOSUID, recursive=True)


def make_point(source: str, target: str) -> None:
    """Something at `target` that `source` can be mounted on."""
    if os.path.isdir(source):
        os.makedirs(target, mode=0o755, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _etc(root: str) -> None:
    os.mkdir(f"{root}/etc")
    for name, text in _ETC.items():
        Path(f"{root}/etc/{name}").write_text(text)
    for name in _ETC_SHARED:
        if os.path.exists(f"/etc/{name}"):
            bind_read_only(f"/etc/{name}", f"{root}/etc/{name}")


def _devices(root: str) -> None:
    os.mkdir(f"{root}/dev")
    for name in _DEVICES:
        make_point(f"/dev/{name}", f"{root}/dev/{name}")
        syscalls.bind(f"/dev/{name}", f"{root}/dev/{name}")
    os.symlink("/proc/self/fd", f"{root}/dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{root}/dev/{name}")
    os.mkdir(f"{root}/dev/shm")
