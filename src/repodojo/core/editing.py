"""Single-turn code edits: the words that a task, its prompt and its grader share.

A task whose grader is of kind "text" holds the user's request (`instruction`), the excerpt with a marked editable range
(`interface`) and what the user did before (`hints`). An imported zeta row has no request: its excerpt is the
instruction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from repodojo.core.records import Task

START, END = "<|editable_region_start|>", "<|editable_region_end|>"
CURSOR = "<|user_cursor_is_here|>"
FILE_START, FILE_END = "<|start_of_file|>", "<|end_of_file|>"
ANSWER = "answer.txt"
"""The one path in the changes of such an episode: the new text of the editable range."""
KIND: Literal["text"] = "text"
_FENCED = re.compile(r"\s*```[^\n]*\n(.*?)\n?```\s*", re.DOTALL)


@dataclass(frozen=True)
class Edit:
    """What the model is shown: any part may be empty but the excerpt."""

    request: str
    events: str
    excerpt: str

    def text(self) -> str:
        """The user's message."""
        done = f"What I did before:\n{self.events}" if self.events else ""
        return "\n\n".join(part for part in (self.request.strip(), done, self.excerpt) if part)


def is_edit(task: Task) -> bool:
    """Whether a task is a single-turn edit, judged by `edem`; other texts are what a command or an agent left."""
    return task.grader.kind == KIND and task.grader.parser == "edem"


def edit_of(task: Task) -> Edit:
    """The parts of an edit task."""
    if task.interface:
        return Edit(task.instruction, task.hints, task.interface)
    return Edit("", task.hints, task.instruction)


def region(text: str) -> str:
    """The text of the editable range in an excerpt or an answer: between the marks, else inside a fence, else all.

    >>> region("```a.py\\nx\\n<|editable_region_start|>\\ny\\n<|editable_region_end|>\\nz\\n```")
    'y'
    >>> region("```python\\ny\\n```"), region("y")
    ('y', 'y')
    """
    if START in text:
        text = text.partition(START)[2].partition(END)[0].removeprefix("\n").removesuffix("\n")
    elif fenced := _FENCED.fullmatch(text):
        text = fenced[1]
    for mark in (CURSOR, FILE_START, FILE_END):
        text = text.replace(mark, "")
    return text


def expected(task: Task) -> str:
    """The new text of the editable range, as the reference has it."""
    return region(task.grader.expected.get("output", ""))


def unchanged(task: Task) -> str:
    """The editable range as it was."""
    return region(edit_of(task).excerpt)
