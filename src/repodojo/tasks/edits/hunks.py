"""Small hunks of a repository's history, each with what was edited before it: one `git log` over all commits."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from repodojo.core.editing import END, START
from repodojo.tasks.edits.languages import language_of
from repodojo.tasks.history.repository import Repository

FORMAT = "--format=%x01%H%x00%P%x00%aI%x00%s%x02"
HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
FOREIGN = re.compile(
    r"(^|/)(vendor|third_party|node_modules|dist|build|generated|__generated__|testdata|fixtures)/|\.min\.|[._-]pb2?\.",
    re.IGNORECASE,
)
"""Files that nobody edits by hand, or that are data."""
LONGEST_ROW = 400
LONGEST_EVENT = 1_200
RECENT_FILES = 5_000


@dataclass(frozen=True)
class Change:
    """A commit as the walk sees it."""

    id: str
    parent: str
    date: str
    subject: str


@dataclass(frozen=True)
class Hunk:
    """Lines of a file that a commit replaced. `old_at` and `new_at` count lines before them, in the file as it was and
    as it became; `next_at` is where the commit's next hunk of the file begins (in the old file; -1: there is none).

    events: what was done shortly before, oldest first: other hunks of the commit, then earlier ones of the file
    """

    change: Change
    path: str
    language: str
    old_at: int
    new_at: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    next_at: int
    events: tuple[str, ...]


@dataclass(frozen=True)
class _Raw:
    """A hunk as the diff has it; `shown` is its text with three lines around it, `whole` False at odd ends of files."""

    old_at: int
    new_at: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    shown: str
    whole: bool


def hunks(
    repository: Repository,
    *,
    languages: frozenset[str],
    most_lines: int,
    events: int,
    funnel: Counter[str],
    revision: str = "HEAD",
    commits: int = 0,
    tell: Callable[[int], None] = lambda seen: None,
) -> Iterator[Hunk]:
    """Small hunks in these languages, oldest commit first (of the newest `commits`; 0: all); `funnel` counts the rest.

    Raises SourceError where git fails.
    """
    recent: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=max(events, 1)))
    for number, (change, files) in enumerate(_log(repository, revision, commits, funnel), 1):
        tell(number)
        before: deque[str] = deque(maxlen=max(events, 1))
        for path, raws in files:
            language = language_of(path)
            for place, raw in enumerate(raws):
                funnel["hunks seen"] += 1
                reason = _lost(path, language, languages, raw, most_lines)
                if reason:
                    funnel[f"lost: {reason}"] += 1
                else:
                    done = [*recent[path], *before][-events:] if events else []
                    after = raws[place + 1].old_at if place + 1 < len(raws) else -1
                    told = tuple(dict.fromkeys(done))
                    yield Hunk(change, path, language, raw.old_at, raw.new_at, raw.old, raw.new, after, told)
                if language in languages and len(raw.shown) <= LONGEST_EVENT and raw.whole:
                    before.append(f'User edited "{path}":\n```diff\n{raw.shown}\n```')
                    recent[path].append(before[-1])
        if len(recent) > RECENT_FILES:
            recent.clear()


def _lost(path: str, language: str, wanted: frozenset[str], raw: _Raw, most_lines: int) -> str:
    """Why a hunk makes no task, as far as the diff can tell; "" where it may."""
    rows = (*raw.old, *raw.new)
    if language not in wanted:
        return "another language"
    if FOREIGN.search(path):
        return "not written by hand"
    if max(len(raw.old), len(raw.new)) > most_lines:
        return "too many lines"
    if "".join("".join(raw.old).split()) == "".join("".join(raw.new).split()):
        return "white space only"
    if not raw.whole or any(len(row) > LONGEST_ROW or "\ufffd" in row or START in row or END in row for row in rows):
        return "odd text"
    return ""


def _log(
    repository: Repository, revision: str, commits: int, funnel: Counter[str]
) -> Iterator[tuple[Change, list[tuple[str, list[_Raw]]]]]:
    """Commits with one parent, oldest first, with their files' hunks."""
    most = [f"--max-count={commits}"] if commits else []
    words = ("log", "--reverse", "--topo-order", FORMAT, "-p", "-U3", "--no-renames", "--no-color", "--no-ext-diff")
    for piece in repository.stream(*words, *most, revision, "--", until="\x01"):
        head, marked, rest = piece.partition("\x02")
        parts = head.split("\0")
        if not marked or len(parts) != 4:
            continue
        funnel["commits seen"] += 1
        parents = parts[1].split()
        if len(parents) == 1:
            yield Change(parts[0], parents[0], parts[2], parts[3]), list(_files(rest))
        else:
            funnel["commits: merge" if parents else "commits: first"] += 1


def _files(diff: str) -> Iterator[tuple[str, list[_Raw]]]:
    """Changed files (neither new nor deleted) with their hunks."""
    for section in re.split(r"^diff --git ", diff, flags=re.MULTILINE)[1:]:
        head, _, body = section.partition("\n@@ ")
        names = dict(row.split(" ", 1) for row in head.split("\n") if row.startswith(("--- ", "+++ ")))
        old, new = names.get("---", ""), names.get("+++", "").rstrip("\t")
        if body and old.startswith("a/") and new.startswith("b/"):
            yield new[2:], [raw for part in _split(f"@@ {body}") if (raw := _raw(part))]


def _split(body: str) -> Iterator[list[str]]:
    """The rows of each hunk, its head first; counted, since a removed line may look like a head."""
    rows = iter(body.split("\n"))
    for row in rows:
        if found := HUNK.match(row):
            old, new = int(found[2] or 1), int(found[4] or 1)
            hunk = [row]
            while old > 0 or new > 0:
                line = next(rows, "")
                old -= line[:1] in " -" or not line
                new -= line[:1] in " +" or not line
                hunk.append(line)
            yield hunk


def _raw(rows: list[str]) -> _Raw | None:
    """The changed lines of a hunk without the context around them; None where nothing is changed."""
    head = HUNK.match(rows[0])
    assert head is not None
    body = rows[1:]
    changed = [i for i, row in enumerate(body) if row[:1] in ("+", "-")]
    if not changed:
        return None
    first, last = changed[0], changed[-1]
    old_at = int(head[1]) - (int(head[2] or 1) > 0) + first
    new_at = int(head[3]) - (int(head[4] or 1) > 0) + first
    inside = body[first : last + 1]
    old = tuple(row[1:] for row in inside if row[:1] != "+")
    new = tuple(row[1:] for row in inside if row[:1] != "-")
    whole = not any(row.startswith("\\") for row in body)
    return _Raw(old_at, new_at, old, new, "\n".join([head[0], *body]), whole)
