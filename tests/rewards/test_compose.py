"""The composed reward in real boxes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
from tiny_package import MODULE, boxes

from repodojo.core.errors import SandboxError
from repodojo.core.protocols import Sandbox, SandboxFactory
from repodojo.core.records import Environment, Score, Task
from repodojo.rewards.checks import Check
from repodojo.rewards.compose import ComposedReward, composed
from repodojo.rewards.formula import Formula
from repodojo.rewards.grade import TestReward
from repodojo.tasks.store import TaskStore

SUMS = "tiny/sums.py"
Changes = Mapping[str, bytes | None]


@pytest.fixture
async def factory(store: TaskStore) -> AsyncIterator[SandboxFactory]:
    made = boxes(store.path)
    yield made
    await made.close()


@pytest.fixture
def task(store: TaskStore) -> Task:
    return next(t for t in store.tasks() if t.focus[0].endswith("clamp") and t.hidden_files)


async def score(factory: SandboxFactory, task: Task, changes: Changes, **formula: object) -> Score:
    made = composed(TestReward(factory), factory, Formula(**formula))  # type: ignore[arg-type]
    return await made.score(task, changes, None)


def test_a_formula_that_adds_nothing_is_the_tests_own_verdict(factory: SandboxFactory) -> None:
    tests = TestReward(factory)
    assert composed(tests, factory, Formula()) is tests


async def test_padding_is_paid_less_than_the_gold_and_a_wrong_answer_nothing(
    factory: SandboxFactory, task: Task, store: TaskStore
) -> None:
    weights = {"size": 0.2, "style": 0.1, "coupling": 0.1, "reuse": 0.1, "parallelism": 0.1}
    gold = store.gold_changes(task)
    paid = await score(factory, task, gold, weights=weights, cap=1.0)
    assert paid.value == pytest.approx(1.5) and paid.solved and paid.parts["bonus"] == pytest.approx(0.5)
    padded = {SUMS: gold[SUMS] + b"\n# needless\n" * 20}
    less = await score(factory, task, padded, weights=weights, cap=1.0)
    assert less.value is not None and 1 < less.value < 1.4 and less.solved
    wrong = await score(factory, task, {}, weights=weights, cap=1.0)
    assert (wrong.value, wrong.solved) == (0.0, False) and "style" not in wrong.parts


async def test_gates_and_caps(factory: SandboxFactory, task: Task, store: TaskStore) -> None:
    padded = {SUMS: store.gold_changes(task)[SUMS] + b"\n# needless\n" * 20}
    gated = await score(factory, task, padded, weights={"style": 0.3}, gates={"size": 0.9})
    assert (gated.value, gated.parts["bonus"]) == (1.0, 0.0)
    capped = await score(factory, task, store.gold_changes(task), weights={"style": 0.9}, cap=0.25)
    assert capped.value == 1.25


@pytest.mark.parametrize(
    ("check", "held"),
    [
        (Check(command="python -c 'import tiny.sums'"), True),
        (Check(command="python -c 'import tiny.sums; print(tiny.sums.clamp(9, 0, 3))'", output="3"), True),
        (Check(command="echo 4", output="3"), False),
        (Check(command="exit 3"), False),
        (Check(command="exit 3", exit_code=3), True),
        (Check(command="mkdir out && touch out/made", files=("out/made", "out")), True),
        (Check(command="true", files=("out/made",)), False),
        (Check(command="sleep 60", seconds=0.5), False),
    ],
)
async def test_a_solved_task_whose_command_does_not_hold_is_not_solved(
    factory: SandboxFactory, task: Task, store: TaskStore, check: Check, held: bool
) -> None:
    got = await score(factory, task, store.gold_changes(task), checks=(check,))
    assert (got.value, got.solved, got.parts["checks"]) == (float(held), held, float(held))


async def test_intermediate_scores_pay_less_than_an_answer(
    factory: SandboxFactory, task: Task, store: TaskStore
) -> None:
    partial = {"hidden": 0.4, "checks": 0.3, "compile": 0.1, "lint": 0.1}
    checks = (Check(command="true"), Check(command="false"))
    half_right = MODULE.replace("return total / len(values)", "return 0").encode()
    got = await score(factory, task, {SUMS: half_right}, partial=partial, partial_cap=0.6, checks=checks)
    assert got.value is not None and not got.solved and got.parts["checks"] == 0.5
    assert got.value == pytest.approx(0.4 * (1 + got.parts["p2p"]) / 2 + 0.15)
    nothing = await score(factory, task, {}, partial={"hidden": 0.4})
    assert nothing.value == 0.4 * nothing.parts["f2p"] / 2


class Dying:
    """Boxes for the tests, then none."""

    def __init__(self, inner: SandboxFactory, lives: int) -> None:
        self.inner, self.lives = inner, lives

    async def create(self, environment: Environment) -> Sandbox:
        self.lives -= 1
        if self.lives < 0:
            raise SandboxError("no room")
        return await self.inner.create(environment)

    async def close(self) -> None:
        return


async def test_an_outage_in_a_part_is_no_reward_and_is_not_remembered(
    factory: SandboxFactory, task: Task, store: TaskStore
) -> None:
    dying = Dying(factory, 1)
    reward = ComposedReward(TestReward(dying), dying, Formula(weights={"size": 0.1}))
    first = await reward.score(task, store.gold_changes(task), None)
    assert (first.value, first.error) == (None, "SandboxError")
    dying.lives = 9
    assert (await reward.score(task, store.gold_changes(task), None)).value == 1.1


async def test_what_grading_refuses_is_not_credited_and_counts_as_touched(
    factory: SandboxFactory, task: Task, store: TaskStore
) -> None:
    changes: dict[str, bytes | None] = {**store.gold_changes(task), "conftest.py": b"x = 1\n" * 40, "tests/a.py": None}
    got = await score(factory, task, changes, weights={"size": 0.2})
    assert got.solved and got.parts["size"] < 0.2
