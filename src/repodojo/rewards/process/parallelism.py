"""parallelism: round trips saved by calls that were made in one turn and whose results were used later.

    score = saved / (looks - 1)      looks: calls that ask for something (views, searches, commands)
                                     saved: over all turns, the used looks of the turn, less one

A result is used where a later turn writes a word of it that nothing before had shown or written. So calls to no purpose
earn nothing, and cost: each is a look more. Gamed by: naming words of needless results later, in a comment say; each
such call must then show something new, and `size` counts the comment. An episode with fewer than two looks scores 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from repodojo.core.records import ToolCall, Turn
from repodojo.rewards.process.work import Work

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{3,}")


async def score(work: Work) -> float:
    """0 where every look was a turn of its own, 1 where all were made at once and all were used."""
    turns = work.trajectory.all_turns() if work.trajectory else ()
    looks = sum(_looks(call) for turn in turns for call in turn.calls)
    return saved(turns, work.task.instruction) / (looks - 1) if looks > 1 else 0.0


def saved(turns: Sequence[Turn], shown: str = "") -> int:
    """Round trips saved; `shown` is what the prompt said."""
    known = _words(shown)
    count = 0
    for place, turn in enumerate(turns):
        known |= _words(turn.text)
        later = {word for after in turns[place + 1 :] for word in _words(after.text)}
        used = 0
        for call, result in zip(turn.calls, turn.results, strict=False):
            fresh = _words(result.output) - known
            used += bool(_looks(call) and not result.error and fresh & later)
            known |= fresh
        count += max(0, used - 1)
    return count


def _looks(call: ToolCall) -> bool:
    """Whether the call asks for something, instead of changing a file or ending the episode."""
    return call.name not in ("editor", "submit", "remember") or call.arguments.get("command") == "view"


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text))
