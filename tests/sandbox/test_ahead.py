"""Boxes prepared ahead: there when they are wanted, never more than allowed, never used twice, none left behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from sandbox_samples import ENVIRONMENT, LIMITS

from repodojo.core.errors import SandboxError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import Environment
from repodojo.sandbox.ahead import PreparedBoxes
from repodojo.sandbox.environments import BoxSpec
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.fake import FakeSandbox

OTHER = replace(ENVIRONMENT, variables={"A": "1"})


class Made(FakeSandbox):
    """Knows what it was made of, and may die."""

    def __init__(self, spec: BoxSpec) -> None:
        super().__init__({"a": b"1"})
        self.spec, self.gone = spec, False

    async def listdir(self, path: str = ".") -> list[str]:
        if self.gone:
            raise SandboxError("gone")
        return await super().listdir(path)


class Slow(LocalFactory):
    """Makes boxes in memory, one event-loop turn each; `broken` ones cannot be made."""

    broken = False

    async def real(self, spec: BoxSpec) -> Sandbox:
        await asyncio.sleep(0)
        if self.broken:
            raise SandboxError("no more processes")
        self.made: list[Made] = [*getattr(self, "made", []), Made(spec)]
        return self.made[-1]


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def run(box: Sandbox) -> None:
    assert (await box.exec(["true"])).exit_code == 0


async def test_a_box_is_made_while_its_user_does_something_else(store: Path) -> None:
    boxes = PreparedBoxes(Slow(store), size=4)
    first = await boxes.create(ENVIRONMENT)
    await settle()
    assert boxes.counts["made_ahead"] == 1
    await run(first)
    assert boxes.counts["ready"] == boxes.counts["taken"] == 1
    at_once = await boxes.create(ENVIRONMENT)
    await run(at_once)  # nobody had time to make one
    assert boxes.counts["ready"] == 1 and boxes.counts["taken"] == 2
    await boxes.close()


@pytest.mark.parametrize("size", [0, 1, 3])
async def test_no_more_than_its_size_are_in_stock_and_environments_do_not_mix(store: Path, size: int) -> None:
    factory = Slow(store)
    boxes = PreparedBoxes(factory, size)
    users = [(e, await boxes.create(e)) for e in (ENVIRONMENT, OTHER) * 3]
    await settle()
    assert boxes.counts["made_ahead"] == min(size, 6)
    for environment, box in users:
        await run(box)
        real = box.real  # type: ignore[attr-defined]
        assert dict(real.spec.variables) == dict(environment.variables) and real.commands == [("true",)]
        await settle()
        assert sum(map(len, boxes._ready.values())) + len(boxes._making) <= size
    assert boxes.counts["taken"] == 6 and (boxes.counts["ready"] > 0) == (size > 0)
    assert len({id(box.real) for _, box in users}) == 6  # type: ignore[attr-defined]
    await boxes.close()
    assert all(box.closed for box in factory.made if box not in [user.real for _, user in users])  # type: ignore[attr-defined]


async def test_what_nobody_wants_any_more_gives_way(store: Path) -> None:
    factory = Slow(store)
    boxes = PreparedBoxes(factory, size=2)
    with boxes.expected(ENVIRONMENT), boxes.expected(ENVIRONMENT):
        await settle()
        assert boxes.counts["made_ahead"] == 2
    read_only = await boxes.create(OTHER)
    await settle()
    assert boxes.counts["unused"] == 1 and factory.made[1].closed
    await read_only.close()  # it never ran anything
    assert not boxes._wanted
    again = await boxes.create(ENVIRONMENT)
    await run(again)
    assert boxes.counts["ready"] == 1  # what was left in stock served after all
    await boxes.close()


async def test_one_that_died_in_stock_is_replaced_and_one_that_cannot_be_made_is_its_users_error(store: Path) -> None:
    factory = Slow(store)
    boxes = PreparedBoxes(factory, size=1)
    box = await boxes.create(ENVIRONMENT)
    await settle()
    factory.made[0].gone = True
    await run(box)
    assert boxes.counts["dead"] == 1 and boxes.counts["ready"] == 0
    factory.broken = True
    unlucky = await boxes.create(ENVIRONMENT)
    await settle()
    assert boxes.counts["failed"] >= 1
    with pytest.raises(SandboxError, match="no more"):
        await run(unlucky)
    await boxes.close()


async def test_real_boxes_from_stock_run_and_leave_with_the_factory(store: Path) -> None:
    factory = LocalFactory(store, limits=LIMITS, allow_unisolated=True)
    boxes = PreparedBoxes(factory, size=2)
    box = await boxes.create(Environment(recipe=ENVIRONMENT.recipe))
    with boxes.expected(ENVIRONMENT):
        for _ in range(1200):
            if boxes.counts["made_ahead"] == 2:
                break
            await asyncio.sleep(0.05)
        await box.write("new", b"x")
        done = await box.exec(["python", "-c", "print(open('new').read())"])
        assert done.output.strip() == b"x" and boxes.counts["ready"] == 1
    await box.close()
    await boxes.close()
    assert not list(factory._boxes)
