"""From a task's environment to what a box must hold: which tree, which site-packages, which files differ."""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from repodojo.core.errors import TaskError
from repodojo.core.protocols import Limits
from repodojo.core.records import Environment
from repodojo.sandbox import safefiles

TREE_FILE_CAP = 16 << 20
KINDS = ("python", "node")
"""What a tree is written in: boxes of both are alike, and see what lies below /usr."""
_RECIPE_KEYS = {"kind", "tree", "site", "edits", "scripts"}
_RESERVED = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev", "/proc", "/sys", "/opt/box", "/tmp")


@dataclass(frozen=True)
class BoxSpec:
    """What one box holds. `overlay` maps paths relative to the tree to the bytes that replace the pristine ones."""

    tree: Path
    site: Path | None
    overlay: Mapping[str, bytes]
    scripts: Mapping[str, str]
    work_dir: str
    variables: Mapping[str, str]
    resources: Mapping[str, float]

    def limits(self, default: Limits) -> Limits:
        """The factory's limits with those that the environment sets."""
        known = {field.name: type(getattr(default, field.name)) for field in fields(default)}
        return replace(default, **{name: known[name](value) for name, value in self.resources.items()})


def resolve(environment: Environment, store: Path) -> BoxSpec:
    """The spec of an environment of this store; TaskError where it asks for what is missing or cannot be given."""
    _refuse_unsupported(environment)
    recipe = environment.recipe
    tree, site = str(recipe.get("tree", "")), str(recipe.get("site", ""))
    root = _folder(store, "trees", tree)
    return BoxSpec(
        tree=root,
        site=_folder(store, "sites", site) if site else None,
        overlay=_overlay(root, recipe.get("edits", ())),
        scripts={_script_name(name): str(text) for name, text in recipe.get("scripts", {}).items()},
        work_dir=_work_dir(environment.work_dir),
        variables=dict(environment.variables),
        resources=dict(environment.resources),
    )


def _refuse_unsupported(environment: Environment) -> None:
    kind = environment.recipe.get("kind", "")
    if kind not in KINDS:
        raise TaskError(
            f"the local sandbox knows recipes of kind {' or '.join(KINDS)}, not {kind!r} (image {environment.image!r})",
            way_out="make the task set anew with `repodojo tasks make`, or use a container sandbox",
        )
    if environment.os != "linux":
        raise TaskError(f"the local sandbox cannot be {environment.os!r}", way_out='set os to "linux"')
    if environment.network:
        raise TaskError("the local sandbox has no network", way_out="set network to false")
    if environment.setup:
        raise TaskError("the local sandbox runs no set-up commands", way_out="put their result into the tree")
    for given, known, what in (
        (environment.recipe, _RECIPE_KEYS, "recipe"),
        (environment.resources, {field.name for field in fields(Limits)}, "resources"),
    ):
        if unknown := sorted(set(given) - known):
            raise TaskError(f"{what}: unknown {unknown[0]!r}", way_out=f"known are {', '.join(sorted(known))}")


def _folder(store: Path, kind: str, name: str) -> Path:
    path = store / kind / name
    if not name or "/" in name or name.startswith(".") or not path.is_dir():
        raise TaskError(
            f"{kind}/{name} is not in the task set {store}", way_out="copy the whole folder of the task set"
        )
    return path


def _work_dir(path: str) -> str:
    normal = posixpath.normpath(path)
    if not normal.startswith("/") or normal in ("/", "//") or any(f"{normal}/".startswith(f"{r}/") for r in _RESERVED):
        raise TaskError(f"work_dir {path!r} cannot be used", way_out='give an absolute folder such as "/testbed"')
    return normal


def _script_name(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise TaskError(f"scripts: {name!r} is not a command's name", way_out="use a plain name such as 'repro'")
    return name


def _overlay(tree: Path, edits: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Files with their edits applied: spans of characters of the pristine file, so later spans go first."""
    by_path: dict[str, list[tuple[int, int, str]]] = {}
    for edit in edits:
        try:
            span = int(edit["start"]), int(edit["end"]), str(edit["text"])
            by_path.setdefault(str(edit["path"]), []).append(span)
        except KeyError as missing:
            raise TaskError(f"edits: an edit lacks {missing}", way_out="give path, start, end and text") from None
    return {path: _edited(pristine(tree, path), path, spans) for path, spans in by_path.items()}


def _edited(data: bytes, path: str, spans: list[tuple[int, int, str]]) -> bytes:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise TaskError(f"edits: {path} is not UTF-8", way_out="leave that file out") from None
    edge = len(text)
    for start, end, new in sorted(spans, reverse=True):
        if not 0 <= start <= end <= edge:
            raise TaskError(
                f"edits: span {start}-{end} of {path} overlaps another or lies outside", way_out="correct it"
            )
        text = text[:start] + new + text[end:]
        edge = start
    return text.encode()


@functools.lru_cache(maxsize=4096)
def _pristine(tree: Path, parts: tuple[str, ...]) -> bytes:
    with safefiles.rooted(tree) as root:
        return safefiles.read_file(root, parts, TREE_FILE_CAP)


def pristine(tree: Path, path: str) -> bytes:
    """Bytes of a file of a tree; kept, since many tasks edit the same files. TaskError where there is none."""
    parts = safefiles.parts_of(path, "/")
    if "/".join(parts) != path:
        raise TaskError(f"{path!r} is not a plain path below the tree", way_out="give it relative, without '..'")
    try:
        return _pristine(tree, parts)
    except OSError as error:
        raise TaskError(f"{path} is not a file of tree {tree.name}: {error.strerror}", way_out="correct it") from None
