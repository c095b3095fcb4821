"""What changed against the base that the host remembers: the pristine tree with the task's edits on it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from repodojo.core.errors import TaskError
from repodojo.sandbox import environments, safefiles
from repodojo.sandbox.environments import BoxSpec

FILE_CAP = 4 << 20
TOTAL_CAP = 32 << 20

Changes = dict[str, bytes | None]


def base_bytes(spec: BoxSpec, path: str) -> bytes | None:
    """A base file's bytes, or None where the base has no such regular file."""
    if path in spec.overlay:
        return spec.overlay[path]
    try:
        return environments.pristine(spec.tree, path)
    except TaskError:
        return None


def base_files(spec: BoxSpec, folder: str) -> Iterator[str]:
    """Every regular file of the base at or below `folder`, except by-products."""
    start = spec.tree / folder
    prefix = f"{folder}/" if folder else ""
    seen: set[str] = set()
    if start.is_file() and not start.is_symlink():
        seen.add(folder)
    elif start.is_dir() and not start.is_symlink():
        seen.update(_walk(spec.tree, start))
    seen.update(path for path in spec.overlay if path == folder or path.startswith(prefix))
    yield from sorted(path for path in seen if not safefiles.ignored(path))


def _walk(tree: Path, start: Path) -> Iterator[str]:
    for here, folders, names in os.walk(start):
        folders[:] = [name for name in folders if name not in safefiles.IGNORED_NAMES]
        for name in names:
            path = os.path.join(here, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield os.path.relpath(path, tree)


def from_upper(
    spec: BoxSpec, files: Mapping[str, bytes], deleted: Sequence[str], opaque: Sequence[str], refused: Sequence[str]
) -> Changes:
    """Changes from what lies in an overlay's upper folder (see `local.scan`)."""
    changes: Changes = {}
    for folder in (*deleted, *opaque):
        changes.update(dict.fromkeys(base_files(spec, folder)))
    for path in files:
        for parent in _parents(path):  # a file of the base that is a folder now
            if base_bytes(spec, parent) is not None:
                changes[parent] = None
        if (spec.tree / path).is_dir():  # a folder of the base that is a file now
            changes.update(dict.fromkeys(base_files(spec, path)))
    hidden = {*files, *refused}
    changes.update({path: None for path in spec.overlay if path not in hidden and not safefiles.ignored(path)})
    for path, data in files.items():
        if data == base_bytes(spec, path):
            changes.pop(path, None)
        else:
            changes[path] = data
    for path in refused:  # what it holds now cannot be told, so nothing is claimed
        changes.pop(path, None)
    return dict(sorted(changes.items()))


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    for length in range(1, len(parts)):
        yield "/".join(parts[:length])


def from_copy(spec: BoxSpec, copy: Path) -> tuple[Changes, tuple[str, ...]]:
    """(changes, refused) of a copied tree, by reading all of it."""
    changes: Changes = dict.fromkeys(base_files(spec, ""))
    refused: list[str] = []
    with safefiles.rooted(copy) as root:
        for path in _entries(copy):
            try:
                data = safefiles.read_file(root, tuple(path.split("/")), FILE_CAP)
            except OSError:
                refused.append(path)
                changes.pop(path, None)
                continue
            changes[path] = data
            if data == base_bytes(spec, path):
                del changes[path]
    pristine_links = {path for path in refused if (spec.tree / path).is_symlink()}
    return dict(sorted(changes.items())), tuple(sorted(set(refused) - pristine_links))


def _entries(copy: Path) -> Iterator[str]:
    """Every path that is no folder, links to folders included, except by-products."""
    for here, folders, names in os.walk(copy):
        links = [name for name in folders if os.path.islink(os.path.join(here, name))]
        for name in (*links, *names):
            path = os.path.relpath(os.path.join(here, name), copy)
            if not safefiles.ignored(path):
                yield path
