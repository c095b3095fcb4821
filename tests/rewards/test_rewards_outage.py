"""Whose fault it is: what the agent's code causes is a failure, on evidence; what the machine causes is no verdict."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import pytest
from tiny_package import MODULE, boxes

from repodojo.core.errors import SandboxError
from repodojo.core.protocols import ExecResult, Sandbox, SandboxFactory
from repodojo.core.records import Environment, Task
from repodojo.rewards.cache import VerdictCache
from repodojo.rewards.grade import TestReward
from repodojo.tasks.store import TaskStore

SUMS = "tiny/sums.py"


@pytest.fixture
async def factory(crafted: TaskStore) -> AsyncIterator[SandboxFactory]:
    made = boxes(crafted.path)
    yield made
    await made.close()


@pytest.fixture
def task(crafted: TaskStore) -> Task:
    return crafted.get("t-clamp")


def changed(body: str) -> dict[str, bytes | None]:
    return {SUMS: MODULE.replace("    if x < low:\n", f"    {body}\n    if x < low:\n", 1).encode()}


CAUSED = {
    "late": "while True: pass",
    "killed": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "memory": "import os; [os.fork() for _ in range(4)]; _held = bytearray(1 << 29); _held[::4096] = bytes(1 << 17); "
    "import time; time.sleep(2)",
}


@pytest.mark.parametrize("name", CAUSED)
async def test_what_the_code_causes_is_a_failure_and_says_by_what_evidence(
    factory: SandboxFactory, task: Task, name: str
) -> None:
    score = await TestReward(factory).score(task, changed(CAUSED[name]), None)
    assert (score.value, score.error) == (0.0, "")
    assert [part for part in score.parts if part.startswith("evidence:")] == [f"evidence:{name}"]


async def test_a_whole_run_over_its_time_is_the_codes_fault_where_sound_code_is_in_time(
    factory: SandboxFactory, task: Task
) -> None:
    """The task's limit is below the runner's own for a single id."""
    quick = replace(task, grader=replace(task.grader, timeout=2.5))
    score = await TestReward(factory).score(quick, changed(CAUSED["late"]), None)
    assert (score.value, score.parts.get("evidence:timeout")) == (0.0, 1.0)


async def test_a_machine_on_which_sound_code_is_late_too_gives_no_verdict(factory: SandboxFactory, task: Task) -> None:
    """The limit is one that nothing can meet, as on a machine that stands still."""
    stuck = replace(task, grader=replace(task.grader, timeout=0.001))
    reward = TestReward(factory, cache=VerdictCache())
    for changes in ({}, changed("while True: pass")):
        score = await reward.score(stuck, changes, None)
        assert (score.value, score.error) == (None, "GradingError")
    assert reward.cache.hits == 0


class Falling:
    """A real box whose `exec` of tests breaks down, always or only while `poison` is in one of its files."""

    def __init__(self, inner: Sandbox, poison: bytes) -> None:
        self.inner, self.poison, self.poisoned = inner, poison, not poison

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        seconds: float | None = None,
        warm: bool = False,
    ) -> ExecResult:
        if self.poisoned:
            raise SandboxError("a box did not stop")
        return await self.inner.exec(argv, cwd=cwd, env=env, stdin=stdin, seconds=seconds, warm=warm)

    async def read(self, path: str) -> bytes:
        return await self.inner.read(path)

    async def write(self, path: str, data: bytes | None) -> None:
        self.poisoned = self.poisoned or bool(self.poison and self.poison in (data or b""))
        await self.inner.write(path, data)

    async def listdir(self, path: str = ".") -> list[str]:
        return await self.inner.listdir(path)

    async def changes(self) -> Mapping[str, bytes | None]:
        return await self.inner.changes()

    async def close(self) -> None:
        await self.inner.close()


class FallingFactory:
    def __init__(self, inner: SandboxFactory, poison: bytes) -> None:
        self.inner, self.poison = inner, poison

    async def create(self, environment: Environment) -> Sandbox:
        return Falling(await self.inner.create(environment), self.poison)

    async def close(self) -> None:
        await self.inner.close()


async def test_code_that_breaks_its_box_fails_where_sound_code_does_not(factory: SandboxFactory, task: Task) -> None:
    reward = TestReward(FallingFactory(factory, b"return 99"))
    score = await reward.score(task, changed("return 99"), None)
    assert (score.value, score.parts["evidence:outage"]) == (0.0, 1.0)
    assert (await reward.score(task, changed("return max(low, min(x, high))"), None)).value == 1.0


async def test_a_machine_that_breaks_every_box_gives_no_verdict(factory: SandboxFactory, task: Task) -> None:
    score = await TestReward(FallingFactory(factory, b"")).score(task, changed("return 99"), None)
    assert (score.value, score.error) == (None, "SandboxError")


async def test_cold_and_warm_verdicts_are_the_same(factory: SandboxFactory, crafted: TaskStore) -> None:
    """On every task: no change, the gold, a wrong change, and code that ends its own process."""
    rewards = [TestReward(factory, warm=warm) for warm in (False, True)]
    for task in crafted.tasks():
        gold = crafted.gold_changes(task)
        text = gold[SUMS].decode()
        for changes in (
            {},
            gold,
            {SUMS: text.replace("return", "return not").encode()},
            {SUMS: text.replace("return", "import os; os._exit(0)\n        return", 1).encode()},
        ):
            cold, warm = [await reward.score(task, changes, None) for reward in rewards]
            assert replace(cold, seconds=0.0) == replace(warm, seconds=0.0), task.labels
