"""`editor`: view, create, str_replace, insert, undo; it remembers the file and the lines that it last showed."""

from __future__ import annotations

from itertools import accumulate
from typing import Literal

from pydantic import Field, model_validator

from repodojo.agent.tools.base import Arguments, Change, MissingArguments, ToolContext, View, Word, numbered
from repodojo.core.records import ToolResult

NEEDS = {"create": ("path", "file_text"), "str_replace": ("old_str", "new_str"), "insert": ("insert_line", "new_str")}
MOST_LINES = 400
MOST_PLACES = 20
NEAR = 10  # lines: what stands further from the line that was named was not meant


class EditorArguments(Arguments):
    """What `editor` takes; which of it is needed depends on the command."""

    command: Literal["view", "create", "str_replace", "insert", "undo"] = Field(description="What to do.")
    path: Word | None = Field(default=None, description="File to work on; the one last shown if left out.")
    view_range: list[int] | None = Field(
        default=None, description="view: first and last line.", min_length=2, max_length=2
    )
    file_text: str | None = Field(default=None, description="create: the whole text.")
    line: int | None = Field(default=None, description="str_replace: the line of old_str; the first one there.")
    old_str: str | None = Field(default=None, description="str_replace: text that stands there exactly once.")
    new_str: str | None = Field(default=None, description="str_replace, insert: the new text.")
    insert_line: int | None = Field(default=None, description="insert: line after which to insert; 0 is the top.")

    @model_validator(mode="after")
    def _complete(self) -> EditorArguments:
        missing = [name for name in NEEDS.get(self.command, ()) if getattr(self, name) is None]
        if missing:
            raise MissingArguments(f"{self.command} needs {' and '.join(missing)}")
        return self


class EditError(Exception):
    """What the agent asked cannot be done; `kind` is short and countable, the text is for the agent."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Editor:
    """Edits files in the box. A str_replace without a line looks in the lines last shown first, then in the file."""

    name = "editor"
    description = "View, create and edit files."
    arguments = EditorArguments

    async def run(self, arguments: EditorArguments, context: ToolContext) -> ToolResult:
        try:
            if arguments.command == "undo":
                return ToolResult(await self._undo(context))
            path = arguments.path or context.view.path
            if not path:
                raise EditError("no-path", "name a path")
            if arguments.command == "view":
                return ToolResult(await self._view(path, arguments, context))
            return ToolResult(await self._change(path, arguments, context))
        except EditError as error:
            return ToolResult(str(error), error.kind)

    async def _view(self, path: str, arguments: EditorArguments, context: ToolContext) -> str:
        if path.endswith("/") or path == ".":
            return "\n".join(await self._list(path, context))
        lines = (await _read(path, context)).split("\n")
        first, last = arguments.view_range or (1, len(lines))
        last = len(lines) if last == -1 else last  # as other editors of this shape take it
        if not 1 <= first <= min(last, len(lines)):
            raise EditError("bad-range", f"{path} has {len(lines)} lines")
        last = min(last, len(lines), first + MOST_LINES - 1)
        context.view = View(path, ((first, last),) if arguments.view_range else ())
        shown = [numbered(number, line) for number, line in enumerate(lines[first - 1 : last], first)]
        return "\n".join([*shown, f"[{len(lines)} lines in all]"] if last < len(lines) else shown)

    async def _list(self, path: str, context: ToolContext) -> list[str]:
        try:
            return await context.sandbox.listdir(path)
        except OSError as error:
            raise EditError("no-file", f"{path}: {error.strerror or error}") from None

    async def _change(self, path: str, arguments: EditorArguments, context: ToolContext) -> str:
        if arguments.command == "create":
            old, new, said = await _read_or_none(path, context), arguments.file_text or "", f"wrote {path}"
        else:
            old = await _read(path, context)
            new, line = replaced(old, arguments, context.view if path == context.view.path else View())
            said = f"edited line {line}"
        await _write(path, new.encode(), context)
        view = context.view
        if old is None or arguments.command == "create" or path != view.path:
            context.view = View(path)
        else:
            context.view = _shifted(view, line, new.count("\n") - old.count("\n"))
        context.undo.append(Change(path, None if old is None else old.encode(), view, context.view))
        return said

    async def _undo(self, context: ToolContext) -> str:
        if not context.undo:
            raise EditError("nothing-to-undo", "nothing to undo")
        change = context.undo[-1]
        await _write(change.path, change.before, context)
        context.undo.pop()
        if context.view == change.view_after:
            context.view = change.view_before
        elif context.view.path == change.path:
            context.view = View(change.path)  # it looked elsewhere since, and those lines may have moved
        return "undid the last edit"


def replaced(text: str, arguments: EditorArguments, view: View) -> tuple[str, int]:
    """The text after a str_replace or insert, and the 1-based line where it changed."""
    if arguments.command == "insert":
        lines = text.split("\n")
        at = arguments.insert_line or 0
        if not 0 <= at <= len(lines):
            raise EditError("bad-range", f"the file has {len(lines)} lines")
        return "\n".join([*lines[:at], arguments.new_str or "", *lines[at:]]), at + 1
    old, new = arguments.old_str or "", arguments.new_str or ""
    if old == new or not old:
        raise EditError("no-change", "old_str is empty" if not old else "old_str and new_str are the same")
    at = find_once(text, old, view, arguments.line)
    return text[:at] + new + text[at + len(old) :], text.count("\n", 0, at) + 1


def find_once(text: str, old: str, view: View, line: int | None = None) -> int:
    """Where `old` stands: once within the lines last shown, else once in the file; EditError otherwise.

    With a `line` the first one in it is meant, or in the nearest line within NEAR, as patch(1) takes line numbers;
    there whole words go before parts of words.
    """
    if line is not None:
        hits = _nearest(text, old, line)
    else:
        spans = [_span(text, first, last) for first, last in view.ranges] or [(0, len(text))]
        hits = [hit for start, end in spans for hit in _occurrences(text, old, start, end)]
        if not hits and view.ranges:
            hits = _occurrences(text, old, 0, len(text))
    if len(hits) != 1:
        near = "" if line is None else f" near line {line}"
        said = f"not found{near}" if not hits else f"found {len(hits)} times, give its line or more context"
        raise EditError("not-found" if not hits else "not-unique", f"old_str {said}")
    return hits[0]


def _nearest(text: str, old: str, line: int) -> list[int]:
    """The first place in the line that is nearest to `line`, the later one of two as near; none beyond NEAR."""
    starts = list(accumulate((len(row) + 1 for row in text.split("\n")), initial=0))
    for row in sorted(range(line - NEAR, line + NEAR + 1), key=lambda row: (abs(row - line), -row)):
        if 1 <= row < len(starts):
            hits = _occurrences(text, old, starts[row - 1], starts[row] + len(old) - 1)  # it may go on below
            if hits:
                return whole_words(text, old, hits)[:1]
    return []


def whole_words(text: str, old: str, hits: list[int]) -> list[int]:
    """The hits that do not cut through a word of `text`; all of them where each does.

    >>> whole_words("in line", "in", [0, 4])
    [0]
    """

    def cuts(at: int) -> bool:
        return 0 < at < len(text) and _in_word(text[at - 1]) and _in_word(text[at])

    return [hit for hit in hits if not cuts(hit) and not cuts(hit + len(old))] or hits


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _span(text: str, first: int, last: int) -> tuple[int, int]:
    """Offsets of lines first..last (1-based, inclusive)."""
    lines = text.split("\n")
    start = sum(len(line) + 1 for line in lines[: first - 1])
    return start, start + sum(len(line) + 1 for line in lines[first - 1 : last])


def _occurrences(text: str, old: str, start: int, end: int) -> list[int]:
    """Offsets of `old` within [start, end), overlapping ones too, the first MOST_PLACES: text may be made to hold any
    number, and more than one is an error anyway."""
    hits: list[int] = []
    at = text.find(old, start, end)
    while at >= 0 and len(hits) < MOST_PLACES:
        hits.append(at)
        at = text.find(old, at + 1, end)
    return hits


def _shifted(view: View, line: int, by: int) -> View:
    """The ranges after `by` lines were added (or, below 0, taken away) at `line`: later ones move, its own grows."""
    moved = [(max(a + by, line) if line < a else a, max(b + by, line) if line <= b else b) for a, b in view.ranges]
    return View(view.path, tuple(moved))


async def _write(path: str, data: bytes | None, context: ToolContext) -> None:
    try:
        await context.sandbox.write(path, data)
    except FileNotFoundError:
        if data is not None:
            raise EditError("not-written", f"{path}: no such folder") from None
    except OSError as error:
        raise EditError("not-written", f"{path}: {error.strerror or error}") from None


async def _read(path: str, context: ToolContext) -> str:
    try:
        return (await context.sandbox.read(path)).decode()
    except UnicodeDecodeError:
        raise EditError("not-text", f"{path} is not text") from None
    except OSError as error:
        raise EditError("no-file", f"{path}: {error.strerror or 'no such file'}") from None


async def _read_or_none(path: str, context: ToolContext) -> str | None:
    try:
        return await _read(path, context)
    except EditError as error:
        if error.kind == "not-text":
            raise
        return None
