"""A repository's history into code edits: hunks are found in one walk, drawn evenly over languages, and written out."""

from __future__ import annotations

import asyncio
import difflib
import functools
import hashlib
import random
import re
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from repodojo import __version__
from repodojo.core.editing import END, KIND, START, edit_of
from repodojo.core.errors import SourceError
from repodojo.core.records import Environment, Gold, Grader, Source, Split, Task
from repodojo.tasks import leaks
from repodojo.tasks.edits.blobs import Blobs
from repodojo.tasks.edits.excerpt import Bounds, Range, editable, excerpt, file_before
from repodojo.tasks.edits.hunks import Hunk, hunks
from repodojo.tasks.edits.languages import CODE
from repodojo.tasks.history.message import clean, words
from repodojo.tasks.history.repository import Repository, opened
from repodojo.tasks.layout import canonical
from repodojo.tasks.store import TaskStore, disk_errors

Tell = Callable[[str, int, int], None]
VAGUE = "Go on with this change."
"""What is asked where the commit's message says nothing, or too much."""
LONGEST_REQUEST = 120
LICENCE_FILE = re.compile(r"(LICEN[CS]E|COPYING)\b", re.IGNORECASE)
LICENCES = {
    "Apache-2.0": "Apache License",
    "AGPL-3.0": "GNU AFFERO GENERAL PUBLIC",
    "LGPL": "GNU LESSER GENERAL PUBLIC",
    "GPL": "GNU GENERAL PUBLIC LICENSE",
    "MPL-2.0": "Mozilla Public License",
    "MIT": "Permission is hereby granted, free",
    "BSD": "Redistribution and use in source and binary forms",
    "ISC": "Permission to use, copy, modify, and",
}


@dataclass(frozen=True)
class Options:
    """What one call asks for. `limit` bounds tasks, `commits` the walk (0: no bound); `events` is how many earlier
    edits are told, `per_commit` how many tasks a commit gives at most."""

    split: Split = "train"
    limit: int = 0
    commits: int = 0
    revision: str = "HEAD"
    seed: int = 0
    languages: frozenset[str] = CODE
    bounds: Bounds = field(default_factory=Bounds)
    most_lines: int = 20
    events: int = 3
    per_commit: int = 4


async def make(source: str, store: TaskStore, options: Options, tell: Tell) -> Counter[str]:
    """Make edits of a history; the funnel. All count at once at the end, so a call that is stopped leaves the set as it
    was. Raises SourceError or TaskError where the repository or the split cannot be used, or nothing comes of it."""
    return await asyncio.to_thread(_make, source, store, options, tell)


def _make(source: str, store: TaskStore, options: Options, tell: Tell) -> Counter[str]:
    funnel: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="repodojo-edits-") as scratch, disk_errors(store.path):
        repository = opened(source, Path(scratch))
        package = canonical(repository.name)
        store.refuse_other_split(package, options.split)
        head = repository.text("rev-parse", options.revision).strip()
        maker = _Maker(repository, package, Source(f"{repository.name} (edits)", head, options.split), options)
        drawn = list(_drawn(maker.found(funnel, tell), options.seed))
        funnel["hunks kept"] = len(drawn)
        with store.appending() as adding, Blobs(repository) as blobs:
            for task in maker.tasks(drawn, blobs, funnel, tell):
                funnel["added"] += adding.put(task, package)
            if not funnel["tasks made"]:
                raise SourceError(f"no edit could be made of {source}: {most_lost(funnel)}", way_out="widen the bounds")
            entry = manifest_entry(maker.source, maker.licence, options.seed, options.bounds, funnel)
            store.manifest = adding.commit({package: entry})
    return funnel


def manifest_entry(source: Source, licence: str, seed: int, bounds: Bounds, funnel: Counter[str]) -> dict[str, Any]:
    """What the set's manifest says of a source whose edits it holds."""
    return {
        "split": source.split,
        "source": source.dataset,
        "revision": source.revision,
        "licence": licence,
        "seed": seed,
        "bounds": {"input": bounds.input, "output": bounds.output},
        "made_with": f"repodojo {__version__}",
        "funnel": dict(sorted(funnel.items())),
    }


def most_lost(funnel: Counter[str]) -> str:
    """The commonest reasons why nothing came of hunks or names."""
    lost = Counter({name: count for name, count in funnel.items() if name.startswith("lost")})
    return ", ".join(f"{count} {name}" for name, count in lost.most_common(3)) or "nothing was found"


def _drawn(found: Iterable[Hunk], seed: int) -> Iterator[Hunk]:
    """All hunks in an order drawn by `seed` in which languages take turns."""
    by_language: dict[str, list[Hunk]] = {}
    for hunk in found:
        by_language.setdefault(hunk.language, []).append(hunk)
    rng = random.Random(seed)
    queues = []
    for language in sorted(by_language):
        rng.shuffle(by_language[language])
        queues.append(deque(by_language[language]))
    while queues:
        for queue in queues:
            yield queue.popleft()
        queues = [queue for queue in queues if queue]


class _Maker:
    """One repository's edits."""

    def __init__(self, repository: Repository, package: str, source: Source, options: Options) -> None:
        self.repository, self.package, self.source, self.options = repository, package, source, options
        self.licence = _licence(repository, source.revision)
        self._of_commit: Counter[str] = Counter()
        self._seen: set[str] = set()

    def found(self, funnel: Counter[str], tell: Tell) -> Iterator[Hunk]:
        """Hunks that may become tasks."""
        options = self.options
        return hunks(
            self.repository,
            languages=options.languages,
            most_lines=options.most_lines,
            events=options.events,
            funnel=funnel,
            revision=options.revision,
            commits=options.commits,
            tell=lambda seen: tell("commits", seen, 0) if seen % 50 == 0 else None,
        )

    def tasks(self, drawn: list[Hunk], blobs: Blobs, funnel: Counter[str], tell: Tell) -> Iterator[Task]:
        """Tasks, at most `limit`; `funnel` says what became of each hunk that was tried."""
        goal = self.options.limit or len(drawn)
        lines = functools.lru_cache(maxsize=256)(functools.partial(_lines, blobs))
        for number, hunk in enumerate(drawn, 1):
            made = self.task(hunk, lines)
            if isinstance(made, str):
                funnel[f"lost: {made}"] += 1
            else:
                funnel["tasks made"] += 1
                funnel[f"language: {hunk.language}"] += 1
                self._of_commit[hunk.change.id] += 1
                yield made
            done = funnel["tasks made"] if self.options.limit else number
            tell("edits", done, goal)
            if self.options.limit and done >= self.options.limit:
                return

    def task(self, hunk: Hunk, lines_of: Callable[[str, str], list[str] | None]) -> Task | str:
        """The task of a hunk, or why there is none."""
        options, change = self.options, hunk.change
        if self._of_commit[change.id] >= options.per_commit:
            return "enough of that commit"
        old, new = lines_of(change.parent, hunk.path), lines_of(change.id, hunk.path)
        lines = file_before(hunk, old, new) if old and new else None
        if lines is None or any(mark in row for row in lines for mark in (START, END)):
            return "odd text"
        mark = hashlib.sha256("\n".join([*hunk.old, "\0", *hunk.new]).encode()).hexdigest()[:16]
        if mark in self._seen:
            return "the same edit as another"
        found = editable(hunk, lines, options.bounds, random.Random(f"{options.seed}:{change.id}:{hunk.path}:{mark}"))
        if found is None:
            return "output too short or too long"
        task = self._record(hunk, found, mark)
        least, most = options.bounds.input
        size = len(edit_of(task).text())
        if not least <= size <= most:
            return "input too short" if size < least else "input too long"
        self._seen.add(mark)
        return task

    def _record(self, hunk: Hunk, found: Range, mark: str) -> Task:
        """The task; its request is made vaguer where it gives a line of the answer away."""
        change, events = hunk.change, "\n\n".join(hunk.events)
        asked = request(change.subject)
        patch = patch_of(hunk.path, found)
        room = self.options.bounds.input[1] - len(asked) - len(events) - 64
        identity = f"{self.package}\0{change.id}\0{hunk.path}\0{found.first}\0{found.new_text}"
        task = Task(
            id="e-" + hashlib.sha256(identity.encode()).hexdigest()[:12],
            source=self.source,
            instruction=asked,
            environment=Environment(recipe={"kind": "none"}),
            grader=Grader(KIND, parser="edem", expected={"output": found.new_text}),
            gold=Gold(patch),
            repo=self.repository.address,
            base_commit=change.parent,
            language=hunk.language,
            licence=self.licence,
            created=change.date,
            hints=events,
            interface=excerpt(hunk.path, found, room),
            focus=(hunk.path,),
            labels={
                "kind": "edit",
                "package": self.package,
                "commit": change.id,
                "function": mark,
                "lines": str(len(hunk.new)),
            },
        )
        return replace(task, instruction=VAGUE) if next(leaks.in_instruction(task), "") else task


def _lines(blobs: Blobs, commit: str, path: str) -> list[str] | None:
    """A file's lines; None where it is not text or not there (a submodule)."""
    try:
        data = blobs.read(commit, path)
        return data.decode().split("\n") if data is not None else None
    except UnicodeDecodeError:
        return None


def request(subject: str) -> str:
    """What the user asks: the commit's first line without links, numbers and prefixes, or something vaguer.

    >>> request("fix(parser): handle empty input (#12)"), request("wip")
    ('handle empty input', 'Go on with this change.')
    """
    said = re.sub(r"^\s*(\[[^\]]*\]\s*)*(\w+(\([^)]*\))?!?:\s+)?", "", clean(subject))
    said = said.partition("\n")[0].strip(" .")
    return said if words(said) >= 2 and len(said) <= LONGEST_REQUEST else VAGUE


def patch_of(path: str, found: Range) -> str:
    """The answer as a diff of the whole file, for people and for the search for duplicates."""
    after = [*found.lines[: found.first], *found.new, *found.lines[found.last :]]
    rows = difflib.unified_diff(list(found.lines), after, f"a/{path}", f"b/{path}", n=3, lineterm="")
    return "\n".join(rows) + "\n"


def _licence(repository: Repository, revision: str) -> str:
    """The licence of a repository by the words of its licence file; "" where they are unknown."""
    names = repository.text("ls-tree", "--name-only", revision).splitlines()
    return next((licence_of(repository.file(revision, name)) for name in names if LICENCE_FILE.match(name)), "")


def licence_of(data: bytes) -> str:
    """The licence that a licence file's words say; "" where they are unknown."""
    text = " ".join(data.decode(errors="replace").split())
    return next((short for short, says in LICENCES.items() if says in text), "")
