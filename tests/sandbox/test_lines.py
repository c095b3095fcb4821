"""More boxes than a process may hold descriptors: sockets go to holders, come back, and none outlives its owner."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_samples import ENVIRONMENT, LIMITS

from repodojo.cli.benches.sandbox import _descendants, gone
from repodojo.core.errors import SandboxError
from repodojo.core.protocols import Sandbox
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.local import wire
from repodojo.sandbox.local.lines import Line, Lot
from repodojo.sandbox.local.native import Init


@pytest.fixture
def lot() -> Iterator[Lot]:
    made = Lot(room=2)
    yield made
    made.close()


def lines(lot: Lot, count: int) -> list[tuple[Line, socket.socket]]:
    pairs = [wire.pair() for _ in range(count)]
    return [(Line(ours, lot), theirs) for ours, theirs in pairs]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_those_used_longest_ago_are_held_elsewhere_and_come_back(lot: Lot) -> None:
    made = lines(lot, 6)
    assert [line.holder is None for line, _ in made] == [False] * 4 + [True] * 2
    with made[0][0].open() as end:
        end.send(b"first")
        assert made[0][1].recv(10) == b"first"
        assert not end.get_inheritable() and not end.getblocking()
    assert [line.holder is None for line, _ in made] == [True] + [False] * 4 + [True]
    before = descriptors()
    for _ in range(3):
        for line, theirs in made:
            with line.open() as end:
                end.send(b"again")
            assert theirs.recv(10) == b"again"
    assert descriptors() == before
    for line, theirs in made:
        line.close()
        assert theirs.recv(10) == b""
        line.close()
        theirs.close()
    with pytest.raises(SandboxError, match="closed"), made[0][0].open():
        pass


def test_a_holder_ends_with_the_last_that_it_holds(lot: Lot) -> None:
    made = lines(lot, 5)
    (holder,) = lot.holders
    for line, _ in made[:3]:
        assert line.holder is holder and holder._process.poll() is None
        line.close()
    assert holder._process.poll() == 0 and not lot.holders
    more = lines(lot, 1)
    assert made[3][0].holder is lot.holders[0]
    for line, theirs in made + more:
        line.close()
        theirs.close()
    assert not lot.holders


def test_what_is_in_use_stays(lot: Lot) -> None:
    made = lines(lot, 2)
    with made[0][0].open(), made[1][0].open():
        more = lines(lot, 2)
        assert made[0][0].holder is None and made[1][0].holder is None
        assert more[0][0].holder is not None
    for line, theirs in made + more:
        line.close()
        theirs.close()


def test_a_lost_holder_is_an_outage_of_what_it_held_and_another_takes_its_place(lot: Lot) -> None:
    made = lines(lot, 3)
    lot.holders[0]._process.kill()
    lot.holders[0]._process.wait()
    assert made[0][1].recv(10) == b""  # its box would end
    with pytest.raises(SandboxError, match="holder"), made[0][0].open():
        pass
    more = lines(lot, 1)
    assert len(lot.holders) == 1 and made[1][0].holder is lot.holders[0]
    with made[1][0].open() as end:
        end.send(b"alive")
    for line, theirs in made + more:
        line.close()
        theirs.close()


async def test_boxes_work_from_a_holder_as_they_do_here(store: Path, init: Init) -> None:
    before = len(_descendants())
    factory = LocalFactory(store, limits=LIMITS, lazy=False, init=init)
    try:
        boxes: list[Sandbox] = [await factory.create(ENVIRONMENT)]
        assert factory._zygote is not None
        factory._zygote._lot.room = 2
        boxes += [await factory.create(ENVIRONMENT) for _ in range(5)]
        assert len(factory._zygote._lot.holders) == 1
        for number, box in enumerate(boxes):
            await box.write("mine.txt", b"%d" % number)
        done = await asyncio.gather(*(box.exec(("cat", "mine.txt")) for box in boxes))
        assert [result.output for result in done] == [b"%d" % number for number in range(6)]
        late = await asyncio.gather(*(box.exec(("sleep", "9"), seconds=0.2) for box in boxes))
        assert {result.ended for result in late} == {"timeout"}
        below = len(_descendants())
        await boxes[0].close()  # one that is held
        del boxes[1], box  # one that is forgotten
        gc.collect()
        assert await asyncio.to_thread(gone, below - 2)
        assert (await boxes[-1].exec(("true",))).exit_code == 0
    finally:
        await factory.close()
    assert await asyncio.to_thread(gone, before)
