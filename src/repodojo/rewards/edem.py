"""The reward of a single-turn code edit: exact match and edit distance, half each (GAPO, arXiv 2510.21830)."""

from __future__ import annotations

from collections.abc import Mapping

from rapidfuzz.distance import Levenshtein

from repodojo.core.editing import ANSWER, expected, is_edit, region
from repodojo.core.errors import GradingError
from repodojo.core.records import Score, Task, Trajectory

Changes = Mapping[str, bytes | None]


def edem(answer: str, wanted: str) -> tuple[float, float]:
    """(ed, em) on stripped text: em = 1 where both are equal, ed = 1 - Levenshtein / length of the longer (both
    empty: 1). The reward is their mean.

    >>> edem("a = 1\\n", "a = 1"), edem("ab", "abcd")
    ((1.0, 1.0), (0.5, 0.0))
    """
    answer, wanted = answer.strip(), wanted.strip()
    return float(Levenshtein.normalized_similarity(answer, wanted)), float(answer == wanted)


class EditReward:
    """(ed + em) / 2 of the answer's editable range; 0 where there is no answer. It counts as solved where em is 1.

    `parts`: ed, em and solved. Raises GradingError for a task of another kind. Nothing runs, so there are no outages.
    """

    async def score(self, task: Task, changes: Changes, trajectory: Trajectory | None) -> Score:
        """Grade the answer in `changes`."""
        if not is_edit(task) or "output" not in task.grader.expected:
            raise GradingError(f"task {task.id} expects no text", way_out="use a reward for its kind")
        answer = changes.get(ANSWER)
        if answer is None:
            return Score(0.0, parts={"ed": 0.0, "em": 0.0, "solved": 0.0})
        ed, em = edem(region(answer.decode(errors="replace")), expected(task))
        return Score((ed + em) / 2, parts={"ed": ed, "em": em, "solved": em})
