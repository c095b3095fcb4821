"""Code retention by Git: the share of the lines that a commit wrote which blame still gives it some days later."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from repodojo.core.errors import SourceError
from repodojo.tasks.history.repository import Repository

DAY = 86_400
_REVERTS = re.compile(r"This reverts commit ([0-9a-f]{7,64})")
_BLAMED = re.compile(r"^([0-9a-f]{40,64}) \d+ \d+", re.MULTILINE)


@dataclass(frozen=True)
class Commit:
    """A commit whose work is looked at: its full name, its time (Unix seconds), subject and patch."""

    name: str
    time: int
    subject: str = ""
    patch: str = ""


class History:
    """Questions to one repository, as its branch `tip` has it (first parents: what reached that branch)."""

    def __init__(self, repository: Repository, tip: str = "HEAD") -> None:
        self.repository = repository
        self.tip = self._full(tip)

    def commit(self, name: str) -> Commit | None:
        """The commit of that name; None where the repository has none, or where it is a merge."""
        try:
            full = self._full(name)
        except SourceError:
            return None
        parents, time = self.repository.text("show", "-s", "--format=%P%n%ct", full).split("\n")[:2]
        return None if " " in parents else Commit(full, int(time))

    def written(self, commit: Commit) -> dict[str, int]:
        """Lines that the commit added, by path; binary files have none."""
        text = self.repository.text("show", "--format=", "--numstat", "-z", "--no-renames", commit.name)
        counts = (entry.split("\t", 2) for entry in text.split("\0") if entry.count("\t") >= 2)
        return {path: int(added) for added, _, path in counts if added.strip().isdigit() and int(added)}

    def retention(self, commit: Commit, days: Sequence[int]) -> dict[int, float]:
        """Share still there after each of `days` that has passed by the branch's own clock; {} for no lines.

        A line counts as there while blame (moves within a file and renames of files followed) names the commit.
        """
        written = self.written(commit)
        found = {}
        for day in sorted(days):
            then = commit.time + day * DAY
            if written and then <= self._tip_time:
                found[day] = self._still_there(commit, written, then) / sum(written.values())
        return found

    def reverted(self, commit: Commit) -> bool:
        """Whether a later commit says that it reverts this one."""
        return any(commit.name.startswith(name) for name in self._reverts)

    def of_agent(self, pattern: str) -> Iterator[Commit]:
        """Commits of the branch whose author or message (trailers too) matches, newest first; merges left out."""
        matches = re.compile(pattern, re.IGNORECASE)
        text = self.repository.stream(
            "log", "--no-merges", "--format=%H%x00%ct%x00%an <%ae>%x00%B%x01", self.tip, until="\x01"
        )
        for entry in text:
            parts = entry.strip("\n\x01").split("\x00")
            if len(parts) == 4 and (matches.search(parts[2]) or matches.search(parts[3])):
                patch = self.repository.text("show", "--format=", "--no-color", "--no-ext-diff", parts[0])
                yield Commit(parts[0], int(parts[1]), parts[3].strip().split("\n")[0], patch)

    def _full(self, name: str) -> str:
        return self.repository.text("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()

    @cached_property
    def _tip_time(self) -> int:
        return int(self.repository.text("show", "-s", "--format=%ct", self.tip).strip())

    @cached_property
    def _reverts(self) -> frozenset[str]:
        text = self.repository.text("log", "--format=%B", "--grep=This reverts commit", self.tip)
        return frozenset(_REVERTS.findall(text))

    def _still_there(self, commit: Commit, written: dict[str, int], then: int) -> int:
        at = self.repository.text("rev-list", "-1", "--first-parent", f"--before={then}", self.tip).strip()
        if not at or not self._holds(commit, at):
            return 0
        return sum(self._blamed(commit, at, path) for path in self._places(commit, written, at))

    def _holds(self, commit: Commit, at: str) -> bool:
        """Whether the branch had the commit at all by then."""
        return not self.repository.text("rev-list", "-1", f"^{at}", commit.name).strip()

    def _places(self, commit: Commit, written: dict[str, int], at: str) -> list[str]:
        """Where the commit's files are at the later one, rename by rename; those that are gone are left out."""
        now = {path: path for path in written}
        words = ("log", "--reverse", "--topo-order", "--format=", "--name-status", "-z", "-M", "--diff-filter=R")
        text = self.repository.text(*words, f"{commit.name}..{at}")
        parts = [part.strip("\n") for part in text.split("\0")]
        for _, old, new in zip(parts[0::3], parts[1::3], parts[2::3], strict=False):
            now = {first: new if path == old else path for first, path in now.items()}
        there = set(self.repository.text("ls-tree", "-r", "-z", "--name-only", at).split("\0"))
        return [path for path in now.values() if path in there]

    def _blamed(self, commit: Commit, at: str, path: str) -> int:
        text = self.repository.text("blame", "-M", "--porcelain", at, "--", path)
        return sum(name == commit.name for name in _BLAMED.findall(text))
