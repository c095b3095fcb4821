"""The walk: every commit once, in one git process, kept where it changes code and tests together and is small.

The filters are R2E-Gym's (arXiv 2504.07164): fewer than 5 files that are not tests, fewer than 200 edited lines in
them, fewer than 10,000 characters of patch, not documentation only. Each is a setting, and what it drops is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from repodojo.tasks.history.repository import Repository
from repodojo.tasks.languages import Language

DOCUMENT = re.compile(
    r"(^|/)(docs?|examples?|\.github|\.circleci)/|\.(md|rst|txt|adoc|png|svg|jpg|gif|ipynb)$"
    r"|(^|/)(CHANGES|CHANGELOG|HISTORY|NEWS|AUTHORS|LICEN[CS]E|COPYING|README)[^/]*$",
    re.IGNORECASE,
)
LOCKS = re.compile(r"(^|/)(package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|uv\.lock|poetry\.lock)$")
REVERT = re.compile(r"^Revert\b", re.IGNORECASE)
FORMAT = "--format=%x01%H%x00%P%x00%aI%x00%B%x02"


@dataclass(frozen=True)
class Filters:
    """What a commit must be; the numbers are exclusive upper bounds, as R2E-Gym states them. 0 switches one off."""

    files: int = 5
    lines: int = 200
    characters: int = 10_000
    words: int = 3
    reverts: bool = False


@dataclass(frozen=True)
class Commit:
    """A commit as the walk sees it. `lines` counts edited lines of `code`: what is neither test, document nor lock."""

    id: str
    parents: tuple[str, ...]
    date: str
    message: str
    code: tuple[str, ...]
    tests: tuple[str, ...]
    lines: int


def commits(repository: Repository, language: Language, revision: str = "HEAD", limit: int = 0) -> Iterator[Commit]:
    """All commits that `revision` reaches (the newest `limit`), newest first."""
    most = [f"--max-count={limit}"] if limit else []
    words = ("log", FORMAT, "--numstat", "-z", "-M", "--no-color", "--no-ext-diff", *most, revision, "--")
    for piece in repository.stream(*words, until="\x01"):
        head, marked, rest = piece.partition("\x02")
        if marked:
            name, parents, date, message = head.split("\0", 3)
            yield _commit(language, name, tuple(parents.split()), date, message.strip(), list(_numstat(rest)))


def _numstat(text: str) -> Iterator[tuple[str, int]]:
    """Paths with edited lines; a renamed file under its new name, a binary one with more lines than any bound."""
    rows = iter(text.strip("\0\n").split("\0"))
    for row in rows:
        parts = row.lstrip("\n").split("\t", 2)
        if len(parts) == 3:
            path = parts[2]
            if not path:
                next(rows, "")
                path = next(rows, "")
            yield path, 1_000_000 if parts[0] == "-" else int(parts[0]) + int(parts[1])


def _commit(
    language: Language, name: str, parents: tuple[str, ...], date: str, message: str, files: list[tuple[str, int]]
) -> Commit:
    tests = tuple(path for path, _ in files if language.is_test(path))
    code = {
        path: n for path, n in files if not language.is_test(path) and not (DOCUMENT.search(path) or LOCKS.search(path))
    }
    return Commit(name, parents, date, message, tuple(code), tests, sum(code.values()))


def lost(commit: Commit, filters: Filters, language: Language) -> str:
    """Why a commit makes no task, as far as the walk can tell; "" where it may."""
    if len(commit.parents) != 1:
        return "merge" if commit.parents else "first commit"
    if not commit.code:
        return "documents or tests only"
    if not any(map(language.is_source, commit.code)):
        return f"no {language.source} changed"
    if not any(map(language.is_source, commit.tests)):
        return "no tests changed"
    if filters.files and len(commit.code) >= filters.files:
        return "too many files"
    if filters.lines and commit.lines >= filters.lines:
        return "too many lines"
    if REVERT.match(commit.message) and not filters.reverts:
        return "a revert"
    return ""


def candidates(
    repository: Repository,
    language: Language,
    filters: Filters,
    funnel: Counter[str],
    *,
    revision: str = "HEAD",
    limit: int = 0,
    tell: Callable[[int], None] = lambda seen: None,
) -> list[Commit]:
    """Commits that pass the filters, oldest first; `funnel` counts those seen and why others were lost.

    The patch is made only of what passes everything else. A patch that another commit had already (a cherry-pick) is
    taken once.
    """
    kept: list[Commit] = []
    seen: set[str] = set()
    for number, commit in enumerate(commits(repository, language, revision, limit), 1):
        tell(number)
        funnel["commits seen"] += 1
        reason = lost(commit, filters, language)
        if not reason:
            patch = repository.diff(commit.parents[0], commit.id, commit.code)
            mark = "".join(row for row in patch.splitlines(True) if row[:1] in "+-")
            if filters.characters and len(patch) >= filters.characters:
                reason = "patch too long"
            elif mark in seen:
                reason = "the patch of another commit"
            seen.add(mark)
        if reason:
            funnel[f"lost: {reason}"] += 1
        else:
            kept.append(commit)
    funnel["commits kept"] = len(kept)
    return kept[::-1]
