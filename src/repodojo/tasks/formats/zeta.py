"""Zeta-style code edits: what the user did, an excerpt with an editable region, and the expected text. One turn."""

from __future__ import annotations

import hashlib
import re

from repodojo.core.editing import END, START
from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.tasks.edits.languages import language_of
from repodojo.tasks.formats.base import Format, Row, RowError, refuse, text


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
    request = text(row, "request")
    digest = hashlib.sha256(f"{events}\0{excerpt}\0{output}{request}".encode(errors="surrogatepass")).hexdigest()
    return Task(
        id=f"edit-{digest[:16]}",
        source=source,
        instruction=request or excerpt,
        interface=excerpt if request else "",
        environment=Environment(recipe={"kind": "none"}),
        grader=Grader("text", parser="edem", expected={"output": output}),
        language=language_of(path) or "unknown",
        hints=events,
        focus=(path,) if path else (),
        labels={"kind": "edit"},
    )


def write(task: Task) -> Row:
    """Events, input and output; the request, which zeta has no word for, is a column of its own."""
    refuse(task, "zeta", "text")
    request = {"request": task.instruction} if task.interface else {}
    excerpt = task.interface or task.instruction
    return {"events": task.hints, "input": excerpt, "output": task.grader.expected["output"], **request}


def _matches(row: Row) -> bool:
    return {"input", "output"} <= row.keys() and "events" in row


ZETA = Format("zeta", "zeta-style code edits", _matches, read, write)
