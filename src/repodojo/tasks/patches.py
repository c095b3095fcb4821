"""Unified diffs: which files they touch, their reverse, and what they make of a tree (by plain `git apply`)."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from repodojo.core.errors import TaskError

HUNK = re.compile(r"^@@ -(\d+(?:,\d+)?) \+(\d+(?:,\d+)?) @@(.*)$", re.DOTALL)
GIT = re.compile(r"^diff --git (?:a/|\"a/)(.+?)\"? (?:b/|\"b/)(.+?)\"?$")
NEVER = "/dev/null"
PAIRS = {"new file mode": "deleted file mode", "old mode": "new mode", "rename from": "rename to"}
SWAPPED = PAIRS | {b: a for a, b in PAIRS.items()}


def sections(patch: str) -> list[list[str]]:
    """The patch cut into files, each a list of lines with their ends; what comes before the first file is dropped."""
    found: list[list[str]] = []
    left = [0, 0]  # lines of the current hunk still to come: old, new
    for line in patch.split("\n"):
        row = line + "\n"
        if left[0] > 0 or left[1] > 0:
            left[0] -= not line.startswith(("+", "\\"))
            left[1] -= not line.startswith(("-", "\\"))
        elif line.startswith("diff --git ") or (line.startswith("--- ") and not _in_header(found)):
            found.append([])
        elif hunk := HUNK.match(line):
            left = [_count(hunk[1]), _count(hunk[2])]
        elif not line.strip():
            continue
        if found:
            found[-1].append(row)
    return found


def _in_header(found: list[list[str]]) -> bool:
    """Whether a "diff --git" line was seen whose "---" is still to come."""
    return bool(found) and found[-1][0].startswith("diff --git ") and not any(x.startswith("--- ") for x in found[-1])


def _count(span: str) -> int:
    return int(span.partition(",")[2] or 1)


def paths(patch: str) -> list[str]:
    """Files that a patch touches (new name, or the old one of a deleted file), in order.

    >>> paths("--- a/pkg/x.py\\n+++ b/pkg/x.py\\n@@ -1 +1 @@\\n-a\\n+b\\n")
    ['pkg/x.py']
    """
    return list(dict.fromkeys(filter(None, map(_path, sections(patch)))))


def _path(section: list[str]) -> str:
    head = itertools.takewhile(lambda row: not row.startswith("@@ "), section)
    names = {row[:4]: _name(row[4:]) for row in head if row.startswith(("--- ", "+++ "))}
    for marker in ("+++ ", "--- "):
        if names.get(marker, NEVER) != NEVER:
            return re.sub(r"^[ab]/", "", names[marker])
    git = GIT.match(section[0].rstrip("\n"))
    return git[2] if git else ""


def _name(text: str) -> str:
    return text.rstrip("\r\n").partition("\t")[0].strip('"')


def only(patch: str, keep: Callable[[str], bool]) -> str:
    """The part of a patch that touches files that `keep` accepts."""
    return "".join(row for section in sections(patch) if keep(_path(section)) for row in section)


def reverse(patch: str) -> str:
    """The patch that takes this one back; TaskError for a binary one, which text cannot turn round.

    >>> print(reverse("--- a/x\\n+++ b/x\\n@@ -1 +1,2 @@\\n-a\\n+b\\n+c\\n"), end="")
    --- a/x
    +++ b/x
    @@ -1,2 +1 @@
    -b
    -c
    +a
    """
    return "".join(row for section in sections(patch) for row in _reversed(section))


def _reversed(section: list[str]) -> Iterator[str]:
    start = next((i for i, row in enumerate(section) if row.startswith("@@ ")), len(section))
    yield from _header(section[:start])
    removed: list[str] = []
    added: list[str] = []
    last = added
    for row in section[start:]:
        if hunk := HUNK.match(row):
            yield from (*removed, *added)
            removed, added = [], []
            yield f"@@ -{hunk[2]} +{hunk[1]} @@{hunk[3]}"
        elif row.startswith("-"):
            added.append("+" + row[1:])
            last = added
        elif row.startswith("+"):
            removed.append("-" + row[1:])
            last = removed
        elif row.startswith("\\") and (removed or added):
            last.append(row)
        else:
            yield from (*removed, *added, row)
            removed, added = [], []
    yield from (*removed, *added)


def _header(rows: list[str]) -> Iterator[str]:
    """The lines above the first hunk, old and new exchanged."""
    pending: dict[str, str] = {}
    for row in rows:
        key = next((name for name in (*SWAPPED, "--- ", "+++ ") if row.startswith(name)), "")
        if row.startswith(("GIT binary patch", "Binary files")):
            raise TaskError("a binary patch cannot be reversed", way_out="leave that task out")
        if row.startswith("index ") and (ids := re.match(r"index (\w+)\.\.(\w+)(.*)$", row, re.DOTALL)):
            yield f"index {ids[2]}..{ids[1]}{ids[3]}"
        elif key in ("new file mode", "deleted file mode"):
            yield SWAPPED[key] + row[len(key) :]
        elif key in ("old mode", "rename from", "--- "):
            pending[key] = row[len(key) :]
        elif key in ("new mode", "rename to"):
            first = SWAPPED[key]
            yield first + row[len(key) :]
            yield key + pending.get(first, row[len(key) :])
        elif key == "+++ ":
            yield "--- " + _sided(row[4:], "a/")
            yield "+++ " + _sided(pending.get("--- ", row[4:]), "b/")
        else:
            yield row


def _sided(name: str, side: str) -> str:
    return re.sub(r"^(\"?)[ab]/", lambda m: m[1] + side, name)


def applied(patch: str, files: Mapping[str, bytes], *, back: bool = False) -> dict[str, bytes | None]:
    """What a patch makes of `files` (each that it touches): path to new bytes, None where it is deleted.

    Raises TaskError where the patch does not fit.
    """
    with tempfile.TemporaryDirectory(prefix="repodojo-patch-") as folder:
        root = Path(folder)
        for path, data in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        environ = {**os.environ, "GIT_CEILING_DIRECTORIES": str(root.parent), "GIT_DIR": str(root / ".none")}
        done = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", *(["-R"] if back else []), "-"],
            cwd=root,
            env=environ,
            input=patch.encode(),
            capture_output=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise TaskError(f"the patch does not fit: {said[0] if said else 'no reason given'}", way_out="correct it")
        now = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    return {path: now.get(path) for path in sorted({*now, *files}) if now.get(path) != files.get(path)}
