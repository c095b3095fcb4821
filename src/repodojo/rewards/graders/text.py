"""`text`: a text must be `expected["output"]`, by what `parser` says.

The text is what the command printed, or without a command the file `expected["path"]` (else the task's focus) as the
agent left it, for which no box is made. Parsers: "exact" (or none) pays 1 for the same text, white space at the ends
left out; "edit-distance" pays (similarity + 1 if the same) / 2, where similarity is 1 - Levenshtein distance / the
longer length (rapidfuzz), and only the same text is solved. A printed text is forgeable by all code that the command
runs; a file is what it is, but a text that is right by another wording is not paid in full.
"""

from __future__ import annotations

from rapidfuzz.distance import Levenshtein

from repodojo.core.records import Score, Task
from repodojo.rewards.graders.base import Ran

PARSERS = ("", "exact", "edit-distance")


class Text:
    """A text that is expected."""

    def files(self, task: Task, result: str) -> dict[str, str]:
        return {}

    def variables(self, task: Task, result: str) -> dict[str, str]:
        return {}

    def score(self, task: Task, ran: Ran) -> Score:
        return compared(ran.output.decode("utf-8", "replace"), task.grader.expected["output"], task.grader.parser)


def path_of(task: Task) -> str:
    """The file that is compared where there is no command."""
    return task.grader.expected.get("path") or (task.focus[0].partition("::")[0] if task.focus else "")


def compared(text: str, wanted: str, parser: str) -> Score:
    """The score of a text.

    >>> compared("a = 1\\n", "a = 1", "exact").value, compared("a = 2", "a = 1", "edit-distance").value
    (1.0, 0.4)
    """
    text, wanted = text.strip(), wanted.strip()
    same = text == wanted
    if parser != "edit-distance":
        return Score(float(same), parts={"same": float(same)})
    similar = float(Levenshtein.normalized_similarity(text, wanted))
    value = 1.0 if same else similar / 2
    return Score(value, parts={"same": float(same), "similarity": similar})
