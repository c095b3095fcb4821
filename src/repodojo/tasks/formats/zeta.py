"""Zeta-style code edits: what the user did, an excerpt with an editable region, and the expected text. One turn."""

from __future__ import annotations

import hashlib
import re

from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.tasks.formats.base import Format, Row, RowError, refuse, text

START, END = "<|editable_region_start|>", "<|editable_region_end|>"
LANGUAGES = {
    "py": "python", "rs": "rust", "ts": "typescript", "tsx": "typescript", "js": "javascript", "jsx": "javascript",
    "go": "go", "java": "java", "c": "c", "h": "c", "cc": "c++", "cpp": "c++", "hpp": "c++", "cs": "c#", "rb": "ruby",
    "php": "php", "swift": "swift", "kt": "kotlin", "scala": "scala", "lua": "lua", "sh": "shell", "sql": "sql",
    "html": "html", "css": "css", "md": "markdown", "toml": "toml", "yaml": "yaml", "yml": "yaml", "json": "json",
}  # fmt: skip


def read(row: Row, source: Source) -> Task:
    """A row with `events`, `input` and `output`."""
    excerpt, output = text(row, "input", needed=True), text(row, "output")
    if "output" not in row or row["output"] is None:
        raise RowError("output", "is missing")
    if START in excerpt and END not in excerpt:
        raise RowError("input", "an editable region begins and does not end")
    events = text(row, "events")
    opened = re.match(r"```([^\n]*)\n", excerpt)
    path = opened[1].strip() if opened else ""
    digest = hashlib.sha256(f"{events}\0{excerpt}\0{output}".encode(errors="surrogatepass")).hexdigest()
    return Task(
        id=f"edit-{digest[:16]}",
        source=source,
        instruction=excerpt,
        environment=Environment(recipe={"kind": "none"}),
        grader=Grader("text", parser="edit-distance", expected={"output": output}),
        language=LANGUAGES.get(path.rpartition(".")[2].lower(), "unknown"),
        hints=events,
        focus=(path,) if path else (),
    )


def write(task: Task) -> Row:
    """Events, input and output."""
    refuse(task, "zeta", "text")
    return {"events": task.hints, "input": task.instruction, "output": task.grader.expected["output"]}


def _matches(row: Row) -> bool:
    return {"input", "output"} <= row.keys() and "events" in row


ZETA = Format("zeta", "zeta-style code edits", _matches, read, write)
