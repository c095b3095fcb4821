"""Many boxes alive at once: each is its own, all answer, and closing them leaves no process behind."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest
from sandbox_samples import ENVIRONMENT

from repodojo.cli.benches.sandbox import _descendants, gone
from repodojo.core.protocols import Limits
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.level import probe

SMALL = Limits(seconds=120, memory_mb=256, processes=8, disk_mb=4, files=512)


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
async def test_all_are_alive_and_apart_and_gone_when_closed(store: Path, count: int) -> None:
    if not probe().isolated:
        pytest.skip(f"no namespaces here: {probe().reason}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 500)), hard))
    factory = LocalFactory(store, limits=SMALL, lazy=False)
    try:
        first = await factory.create(ENVIRONMENT)  # starts the fork server
        before = len(_descendants())
        boxes = [await factory.create(ENVIRONMENT) for _ in range(count)]
        assert len(_descendants()) >= before + count
        for number, box in enumerate(boxes):
            await box.write("mine.txt", b"%d" % number)
        done = await asyncio.gather(*(box.exec(("cat", "mine.txt")) for box in boxes[:: max(count // 40, 1)]))
        assert [int(result.output) for result in done] == list(range(0, count, max(count // 40, 1)))
        assert await boxes[-1].read("mine.txt") == b"%d" % (count - 1)
        for box in boxes:
            await box.close()
        assert await asyncio.to_thread(gone, before)
        assert (await first.exec(("true",))).exit_code == 0
    finally:
        await factory.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
