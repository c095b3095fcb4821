"""Unfinished renames as code edits: a name is changed where it is bound, and the rest is left to do.

They need no history, so any package or folder will do, and the answer follows from what is shown: the first edit says
both names. What a rename does not reach (attributes, keywords, strings) stays as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repodojo.core.editing import END, KIND, START, edit_of
from repodojo.core.errors import SourceError
from repodojo.core.records import Environment, Gold, Grader, Source, Split, Task
from repodojo.tasks.edits.excerpt import Bounds, Range, excerpt
from repodojo.tasks.edits.hunks import FOREIGN, LONGEST_ROW
from repodojo.tasks.edits.languages import language_of
from repodojo.tasks.edits.make import LICENCE_FILE, VAGUE, Tell, licence_of, manifest_entry, most_lost, patch_of
from repodojo.tasks.edits.names import FUNCTIONS, Body, Name, bodies
from repodojo.tasks.layout import LARGEST, canonical
from repodojo.tasks.sources import Fetched, fetch
from repodojo.tasks.store import TaskStore, disk_errors

LANGUAGES = frozenset(FUNCTIONS)


@dataclass(frozen=True)
class Options:
    """What one call asks for. `limit` bounds the tasks of a source (0: no bound), `most_lines` a function's length,
    `per_function` how many tasks it gives."""

    split: Split = "train"
    limit: int = 0
    seed: int = 0
    languages: frozenset[str] = LANGUAGES
    bounds: Bounds = field(default_factory=Bounds)
    most_lines: int = 30
    per_function: int = 2


@dataclass(frozen=True)
class Function:
    """A function in its file."""

    path: str
    language: str
    data: bytes
    body: Body


async def make(source: str, store: TaskStore, options: Options, tell: Tell) -> Counter[str]:
    """Make renames of a source (package, folder, archive, Git address); the funnel. All count at once at the end.

    Raises SourceError or TaskError where the source or the split cannot be used, or nothing comes of it.
    """
    return await asyncio.to_thread(_make, source, store, options, tell)


def _make(source: str, store: TaskStore, options: Options, tell: Tell) -> Counter[str]:
    funnel: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="repodojo-renames-") as scratch, disk_errors(store.path):
        fetched = fetch(source, Path(scratch))
        package = canonical(fetched.name or fetched.root.name)
        store.refuse_other_split(package, options.split)
        found = list(_functions(fetched.root, options.languages, funnel))
        random.Random(options.seed).shuffle(found)
        maker = _Maker(fetched, package, options, found)
        with store.appending() as adding:
            for task in maker.tasks(funnel, tell):
                funnel["added"] += adding.put(task, package)
            if not funnel["tasks made"]:
                cause = f"no rename could be made of {source}: {most_lost(funnel)}"
                raise SourceError(cause, way_out="widen the bounds")
            entry = manifest_entry(maker.source, maker.licence, options.seed, options.bounds, funnel)
            store.manifest = adding.commit({package: entry})
    return funnel


def _functions(root: Path, languages: frozenset[str], funnel: Counter[str]) -> Iterator[Function]:
    """Functions of all files, each body once."""
    seen: set[bytes] = set()
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root).as_posix()
        language = language_of(relative)
        if language not in languages or FOREIGN.search(relative) or path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        if len(data) > LARGEST or not _plain(data):
            funnel["files left out"] += 1
            continue
        rows = data.split(b"\n")
        for body in bodies(language, data):
            funnel["functions"] += 1
            text = b"\n".join(rows[body.first : body.last])
            if text not in seen:
                seen.add(text)
                yield Function(relative, language, data, body)


def _plain(data: bytes) -> bool:
    """Whether a file is text with Unix line ends and without the marks that an excerpt needs."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return not any(mark in text for mark in ("\r", START, END))


class _Maker:
    """One source's renames."""

    def __init__(self, fetched: Fetched, package: str, options: Options, functions: list[Function]) -> None:
        self.options, self.functions, self.package, self.repo = options, functions, package, fetched.repo
        named = (path for path in sorted(fetched.root.iterdir()) if path.is_file() and LICENCE_FILE.match(path.name))
        self.licence = next((licence_of(path.read_bytes()) for path in named), "")
        self.source = Source(f"{fetched.label} (renames)", fetched.revision, options.split)
        names = {(f.language, name.text) for f in functions for name in f.body.names if len(name.text) > 1}
        self.own = {language: sorted(n for kind, n in names if kind == language) for language in LANGUAGES}
        self.any = sorted({n for _, n in names})

    def tasks(self, funnel: Counter[str], tell: Tell) -> Iterator[Task]:
        """Tasks, at most `limit`; `funnel` says what became of each name that was tried."""
        limit = self.options.limit or len(self.functions)
        for number, function in enumerate(self.functions, 1):
            made = 0
            rng = random.Random(f"{self.options.seed}:{function.path}:{function.body.first}")
            for name in rng.sample(function.body.names, len(function.body.names)):
                task = self.task(function, name, rng) if made < self.options.per_function else "enough of that function"
                if isinstance(task, str):
                    funnel[f"lost: {task}"] += 1
                    continue
                made += 1
                funnel["tasks made"] += 1
                funnel[f"language: {function.language}"] += 1
                yield task
                if self.options.limit and funnel["tasks made"] == self.options.limit:
                    return
            tell("renames", funnel["tasks made"] if self.options.limit else number, limit)

    def task(self, function: Function, name: Name, rng: random.Random) -> Task | str:
        """The task of renaming `name`, or why there is none."""
        body, options = function.body, self.options
        if body.last - body.first > options.most_lines:
            return "function too long"
        known = (self.own[function.language], self.any)
        pools = ([new for new in names if new not in body.identifiers] for names in known)
        pool = next(filter(None, pools), [])
        if not pool:
            return "no other name"
        new = rng.choice(pool)
        old = function.data.decode().split("\n")
        if max(len(row) for row in old[body.first : body.last]) > LONGEST_ROW:
            return "odd text"
        after = _renamed(function, name, new)
        first = name.places[0][0]
        found = _range(name, body, old, after, options.bounds, rng)
        if found is None:
            return "nothing left to rename, or output too short or too long"
        event = f'User edited "{function.path}":\n```diff\n{_change(old, found.lines, first)}\n```'
        room = options.bounds.input[1] - len(VAGUE) - len(event) - 64
        task = self._record(function, found, event, excerpt(function.path, found, room))
        least, most = options.bounds.input
        size = len(edit_of(task).text())
        return task if least <= size <= most else "input too short" if size < least else "input too long"

    def _record(self, function: Function, found: Range, event: str, shown: str) -> Task:
        identity = f"{self.package}\0{function.path}\0{found.first}\0{event}\0{found.new_text}"
        changed = sum(a != b for a, b in zip(found.lines[found.first : found.last], found.new, strict=True))
        return Task(
            id="e-" + hashlib.sha256(identity.encode()).hexdigest()[:12],
            source=self.source,
            instruction=VAGUE,
            environment=Environment(recipe={"kind": "none"}),
            grader=Grader(KIND, parser="edem", expected={"output": found.new_text}),
            gold=Gold(patch_of(function.path, found)),
            repo=self.repo,
            language=function.language,
            licence=self.licence,
            hints=event,
            interface=shown,
            focus=(function.path,),
            labels={
                "kind": "rename",
                "package": self.package,
                "function": hashlib.sha256(found.new_text.encode()).hexdigest()[:16],
                "lines": str(changed),
            },
        )


def _renamed(function: Function, name: Name, new: str) -> list[str]:
    """The file's rows with every place renamed."""
    data, at, parts = function.data, 0, list[bytes]()
    for _, start, end in name.places:
        parts += [data[at:start], new.encode()]
        at = end
    return b"".join([*parts, data[at:]]).decode().split("\n")


def _range(
    name: Name, body: Body, old: list[str], after: list[str], bounds: Bounds, rng: random.Random
) -> Range | None:
    """Rows from the first to the last that is still to be changed, and some around them (how many is drawn); fewer
    where the answer would be too long. None where nothing is left, or the answer is too short."""
    first = name.places[0][0]
    rows = sorted({row for row, _, _ in name.places if row > first})
    above, below = rng.randint(0, bounds.margin), rng.randint(0, bounds.margin)
    lines = [*after[: first + 1], *old[first + 1 :]]
    while rows:
        start, end = max(rows[0] - above, first + 1), min(rows[-1] + 1 + below, body.last)
        new = tuple(after[row] if row <= rows[-1] else old[row] for row in range(start, end))
        size = len("\n".join(new))
        if size <= bounds.output[1]:
            return Range(lines, start, end, new) if size >= bounds.output[0] else None
        above, below, rows = 0, 0, rows if above + below else rows[:-1]
    return None


def _change(old: Sequence[str], now: Sequence[str], row: int) -> str:
    """The edit of `row` that was made already, as a diff with a line on either side."""
    near = range(max(row - 1, 0), min(row + 2, len(old)))
    head = f"@@ -{near.start + 1},{len(near)} +{near.start + 1},{len(near)} @@"
    above, below = ([f" {old[i]}" for i in near if i < row], [f" {old[i]}" for i in near if i > row])
    return "\n".join([head, *above, f"-{old[row]}", f"+{now[row]}", *below])
