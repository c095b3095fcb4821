"""tool_errors, tokens: what users of a product wait for and pay for (docs/feedback.md says where a target comes from).

    tool_errors = 1 - errors / calls                  errors: calls that a tool refused or that met a limit; malformed
                                                      calls count as both. 1 where nothing was called
    tokens      = min(1, tokens_target / sampled)     sampled: tokens of all turns

Gamed by: needless calls that go well (they cost tokens); answers without looking, paid where they are right.
"""

from __future__ import annotations

from repodojo.rewards.process.work import Work


async def tool_errors(work: Work) -> float:
    """1 where no call failed."""
    results = [result for turn in (work.trajectory.all_turns() if work.trajectory else ()) for result in turn.results]
    return 1.0 - sum(bool(result.error) for result in results) / len(results) if results else 1.0


async def tokens(work: Work) -> float:
    """1 up to the target, then falling as its inverse."""
    sampled = sum(len(turn.action_ids) for turn in (work.trajectory.all_turns() if work.trajectory else ()))
    return min(1.0, work.tokens_target / sampled) if sampled else 1.0
