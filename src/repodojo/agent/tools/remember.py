"""`remember`: the agent leaves a note about the project for later episodes."""

from __future__ import annotations

import time

from pydantic import Field

from repodojo.agent.memory import MOST_A_TASK, MOST_CHARS, Memory, Note, quotes, repository
from repodojo.agent.tools.base import Arguments, ToolContext, Word
from repodojo.core.records import ToolResult


class RememberArguments(Arguments):
    """What `remember` takes."""

    note: Word = Field(description="What helps whoever works here next.", min_length=1)
    about: Word = Field(default="", description="File or folder that it is about.", max_length=200)


class Remember:
    """Writes a note. What comes of it is the same answer whatever the note says, so that it betrays no answer."""

    name = "remember"
    description = "Leave a note about this project for later work on it."
    arguments = RememberArguments

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def run(self, arguments: RememberArguments, context: ToolContext) -> ToolResult:
        if len(arguments.note) > MOST_CHARS:
            return ToolResult(f"a note has at most {MOST_CHARS} characters", "too-long")
        if context.notes_written >= MOST_A_TASK:
            return ToolResult(f"at most {MOST_A_TASK} notes", "too-many")
        context.notes_written += 1
        task, text = context.task, " ".join(arguments.note.split())
        clean = task.gold is not None and not quotes(f"{text} {arguments.about}", task)  # unknown answers, unchecked
        note = Note(
            repository(task),
            task.source.split,
            task.id,
            context.episode,
            context.version,
            time.time(),
            arguments.about,
            text,
            clean,
        )
        self._memory.add(note)
        return ToolResult("noted")
