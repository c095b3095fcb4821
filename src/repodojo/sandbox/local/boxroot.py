"""One box's root: a small tmpfs that holds everything the box may write, and read-only views of the rest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from repodojo.sandbox import bytecode
from repodojo.sandbox.local import skeleton, syscalls

SITE, BIN, PYTHON_HOME = "/opt/box/site", "/opt/box/bin", "/opt/box"


@dataclass(frozen=True)
class Layout:
    """What the fork server is told of a box; paths are those of the fork server's root."""

    tree: str
    site: str
    work_dir: str
    overlay: Mapping[str, bytes]
    scripts: Mapping[str, str]
    disk_mb: int
    files: int
    python: str
    shared: tuple[str, ...]


def build(layout: Layout) -> int:
    """Mount everything and make it the root; returns a descriptor of the overlay's upper folder, for `changes`."""
    spare = skeleton.SPARE
    options = f"size={layout.disk_mb}m,nr_inodes={layout.files},mode=755"
    syscalls.mount("tmpfs", spare, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
    root, upper = f"{spare}/root", f"{spare}/upper"
    for path in (root, upper, f"{spare}/work", f"{spare}/tmp"):
        os.mkdir(path, 0o755)
    os.chmod(f"{spare}/tmp", 0o1777)
    for path, data in layout.overlay.items():
        _write(f"{upper}/{path}", data, 0o644)
    syscalls.bind(root, root)
    _system(root, layout)
    _commands(root, layout)
    os.makedirs(root + layout.work_dir, exist_ok=True)
    syscalls.mount(
        "overlay",
        root + layout.work_dir,
        "overlay",
        syscalls.MS_NOSUID | syscalls.MS_NODEV,
        f"lowerdir={layout.tree},upperdir={upper},workdir={spare}/work,userxattr",
    )
    for path in layout.overlay:
        bytecode.mask(root + layout.work_dir, path)
    os.mkdir(f"{root}/tmp")
    syscalls.bind(f"{spare}/tmp", f"{root}/tmp")
    shared_memory = f"size={max(1, layout.disk_mb // 4)}m,nr_inodes=1024,mode=1777"
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("tmpfs", f"{root}/dev/shm", "tmpfs", flags, shared_memory)
    os.mkdir(f"{root}/proc")
    syscalls.mount("proc", f"{root}/proc", "proc", flags | syscalls.MS_NOEXEC)
    syscalls.mount_attributes(root, syscalls.ATTR_RDONLY, recursive=False)
    handle = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    syscalls.enter_root(root)
    return handle


def _system(root: str, layout: Layout) -> None:
    for name, target in skeleton.links():
        os.symlink(target, f"{root}/{name}")
    for path in (*skeleton.folders(), *layout.shared):
        skeleton.make_point(path, root + path)
        syscalls.bind(path, root + path)
    os.makedirs(root + SITE)
    if layout.site:
        syscalls.bind(layout.site, root + SITE)


def _commands(root: str, layout: Layout) -> None:
    """The box's interpreter is a virtual environment without packages: what a job may import comes by PYTHONPATH."""
    os.makedirs(root + BIN)
    home, name = os.path.split(layout.python)
    _write(f"{root}{PYTHON_HOME}/pyvenv.cfg", f"home = {home}\ninclude-system-site-packages = false\n".encode(), 0o644)
    for link in {"python", "python3", name}:
        os.symlink(layout.python, f"{root}{BIN}/{link}")
    for script, text in layout.scripts.items():
        _write(f"{root}{BIN}/{script}", text.encode(), 0o755)


def _write(path: str, data: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as handle:
        handle.write(data)
    os.chmod(path, mode)
