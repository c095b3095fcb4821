"""One box's root: a small tmpfs that holds everything the box may write, and read-only views of the rest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from repodojo.sandbox.local import skeleton, steps, syscalls

SITE, BIN, PYTHON_HOME = "/opt/box/site", "/opt/box/bin", "/opt/box"
_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV
_ROOT, _UPPER, _WORK, _TMP = (f"{skeleton.SPARE}/{name}" for name in ("root", "upper", "work", "tmp"))


@dataclass(frozen=True)
class Layout:
    """What a box holds; paths are those of the fork server's root.

    masked: files below the tree that the box must not see, relative to it
    """

    tree: str
    site: str
    work_dir: str
    overlay: Mapping[str, bytes]
    masked: tuple[str, ...]
    scripts: Mapping[str, str]
    disk_mb: int
    files: int
    python: str


class _Steps(list[steps.Step]):
    """Steps that make each folder once."""

    def __init__(self) -> None:
        super().__init__()
        self._made: set[str] = set()

    def folder(self, path: str) -> None:
        """With its parents, as far as they lie below the box's own tmpfs."""
        if path not in self._made and path != skeleton.SPARE:
            self.folder(os.path.dirname(path))
            self._made.add(path)
            self.append(steps.folder(path))

    def file(self, path: str, data: bytes, mode: int) -> None:
        self.folder(os.path.dirname(path))
        self.append(steps.file(path, data, mode))


def build(layout: Layout, shared: tuple[str, ...]) -> list[steps.Step]:
    """Mount everything and make it the root, keeping the overlay's upper folder for `changes`."""
    made = _Steps()
    options = f"size={layout.disk_mb}m,nr_inodes={layout.files},mode=755"
    made.append(steps.mount("tmpfs", skeleton.SPARE, "tmpfs", _FLAGS, options))
    for path in (_ROOT, _UPPER, _WORK):
        made.folder(path)
    made.append(steps.folder(_TMP, 0o1777))
    for path, data in layout.overlay.items():
        made.file(f"{_UPPER}/{path}", data, 0o644)
    made.append(steps.bind(_ROOT, _ROOT))
    _system(made, layout, shared)
    _commands(made, layout)
    made.folder(_ROOT + layout.work_dir)
    lower = f"lowerdir={layout.tree},upperdir={_UPPER},workdir={_WORK},userxattr"
    made.append(steps.mount("overlay", _ROOT + layout.work_dir, "overlay", _FLAGS, lower))
    made += [steps.remove(f"{_ROOT}{layout.work_dir}/{path}") for path in layout.masked]
    made.folder(f"{_ROOT}/tmp")
    made.append(steps.bind(_TMP, f"{_ROOT}/tmp"))
    shared_memory = f"size={max(1, layout.disk_mb // 4)}m,nr_inodes=1024,mode=1777"
    made.append(steps.mount("tmpfs", f"{_ROOT}/dev/shm", "tmpfs", _FLAGS, shared_memory))
    made.folder(f"{_ROOT}/proc")
    made.append(steps.mount("proc", f"{_ROOT}/proc", "proc", _FLAGS | syscalls.MS_NOEXEC))
    made += [steps.read_only(_ROOT), steps.keep(_UPPER), steps.enter_root(_ROOT)]
    return list(made)


def _system(made: _Steps, layout: Layout, shared: tuple[str, ...]) -> None:
    for name, target in skeleton.links():
        made.append(steps.link(target, f"{_ROOT}/{name}"))
    for path in (*skeleton.folders(), *shared):
        made.folder(_ROOT + path)
        made.append(steps.bind(path, _ROOT + path))
    made.folder(_ROOT + SITE)
    if layout.site:
        made.append(steps.bind(layout.site, _ROOT + SITE))


def _commands(made: _Steps, layout: Layout) -> None:
    """The box's interpreter is a virtual environment without packages: what a job may import comes by PYTHONPATH."""
    made.folder(_ROOT + BIN)
    home, name = os.path.split(layout.python)
    settings = f"home = {home}\ninclude-system-site-packages = false\n".encode()
    made.file(f"{_ROOT}{PYTHON_HOME}/pyvenv.cfg", settings, 0o644)
    for link in {"python", "python3", name}:
        made.append(steps.link(layout.python, f"{_ROOT}{BIN}/{link}"))
    for script, text in layout.scripts.items():
        made.file(f"{_ROOT}{BIN}/{script}", text.encode(), 0o755)
