"""Worked out once, however many ask, and again where there was nothing to keep."""

from __future__ import annotations

import asyncio

import pytest

from repodojo.core.remembered import Remembered


class Counted:
    """Something that takes a moment; it fails the first `failing` times."""

    def __init__(self, failing: int = 0) -> None:
        self.runs, self.failing = 0, failing

    async def __call__(self) -> int:
        self.runs += 1
        mine = self.runs
        await asyncio.sleep(0.01)
        if mine <= self.failing:
            raise ValueError("broken")
        return mine


async def test_who_asks_meanwhile_waits_for_the_same_answer() -> None:
    known, work = Remembered[str, int](10), Counted()
    assert await asyncio.gather(*(known.of("a", work) for _ in range(8))) == [1] * 8
    assert (work.runs, known.hits) == (1, 7) and await known.of("b", work) == 2


@pytest.mark.parametrize("stopped", [False, True])
async def test_who_waited_for_nothing_makes_their_own(stopped: bool) -> None:
    known, work = Remembered[str, int](10), Counted(failing=0 if stopped else 1)
    first, *others = [asyncio.ensure_future(known.of("a", work)) for _ in range(3)]
    await asyncio.sleep(0)
    if stopped:
        first.cancel()
    with pytest.raises(asyncio.CancelledError if stopped else ValueError):
        await first
    assert sorted(await asyncio.gather(*others)) == [2, 3] and await known.of("a", work) in (2, 3)


async def test_one_who_waits_may_be_stopped_without_stopping_the_others() -> None:
    known, work = Remembered[str, int](10), Counted()
    first, second, third = [asyncio.ensure_future(known.of("a", work)) for _ in range(3)]
    await asyncio.sleep(0)
    second.cancel()
    assert await asyncio.gather(first, third) == [1, 1] and second.cancelled()


async def test_what_is_not_to_be_kept_is_given_back_and_forgotten() -> None:
    known, work = Remembered[str, int](10), Counted()
    assert sorted(await asyncio.gather(*(known.of("a", work, lambda value: value > 3) for _ in range(3)))) == [1, 2, 3]
    assert [await known.of("a", work, lambda value: value > 3) for _ in range(2)] == [4, 4] and known.hits == 1
    off = Remembered[str, int](0)
    assert [await off.of("a", work) for _ in range(2)] == [5, 6]
