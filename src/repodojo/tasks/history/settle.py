"""Which tests a commit turns green: run before and after, again until nothing has flickered for long enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

Statuses = Mapping[str, str]
Run = Callable[[bool, int], Awaitable[Statuses]]
"""Runs all ids: with or without the solution, under a seed; status by id (an id that did not run is missing)."""

SURE = 3
MOST = 10


@dataclass
class Settled:
    """Ids by what they did in all rounds. `broken` passed before and never after."""

    red: tuple[str, ...] = ()
    green: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    rounds: int = 0
    seen: dict[str, set[tuple[bool, bool]]] = field(default_factory=dict)


async def settle(ids: Sequence[str], run: Run, *, sure: int = SURE, most: int = MOST) -> Settled:
    """Adaptive: rounds end when none of the last `sure` showed a new flicker, or after `most`; and after the first
    where nothing turned green, since more rounds could only take away from nothing. Without `ids` those count that
    any run reports; one that a round leaves out did not pass in it."""
    result, quiet = Settled(), 0
    while quiet < sure and result.rounds < most:
        before, after = await run(False, result.rounds), await run(True, result.rounds)
        new = False
        for name in ids or dict.fromkeys([*result.seen, *before, *after]):
            pair = (before.get(name) == "passed", after.get(name) == "passed")
            known = result.seen.setdefault(name, {(False, False)} if result.rounds and not ids else set())
            new |= bool(known) and pair not in known
            known.add(pair)
        result.rounds += 1
        quiet = 0 if new else quiet + 1
        if result.rounds == 1 and not any(pairs == {(False, True)} for pairs in result.seen.values()):
            break
    return _sorted(ids or tuple(sorted(result.seen)), result)


def _sorted(ids: Sequence[str], result: Settled) -> Settled:
    def those(before: bool, after: bool) -> tuple[str, ...]:
        return tuple(name for name in ids if result.seen.get(name) == {(before, after)})

    result.red, result.green, result.broken = those(False, True), those(True, True), those(True, False)
    result.flaky = tuple(name for name in ids if len(result.seen.get(name, ())) > 1)
    return result
