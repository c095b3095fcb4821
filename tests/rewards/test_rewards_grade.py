"""What is paid and what is not, in real boxes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping

import pytest
from tiny_package import MODULE, boxes

from repodojo.core.errors import GradingError, SandboxError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import Environment, Grader, Task
from repodojo.rewards.filter import admissible
from repodojo.rewards.grade import TestReward
from repodojo.tasks.store import TaskStore

SUMS = "tiny/sums.py"


@pytest.fixture
async def reward(store: TaskStore) -> AsyncIterator[TestReward]:
    factory = boxes(store.path)
    yield TestReward(factory)
    await factory.close()


@pytest.fixture
def task(store: TaskStore) -> Task:
    return next(t for t in store.tasks() if t.focus[0].endswith("clamp") and t.hidden_files)


async def value(reward: TestReward, task: Task, changes: Mapping[str, bytes | None]) -> float | None:
    return (await reward.score(task, changes, None)).value


async def test_gold_is_paid_and_no_change_is_not_for_every_task(reward: TestReward, store: TaskStore) -> None:
    for task in store.tasks():
        assert await value(reward, task, store.gold_changes(task)) == 1.0, task.labels
        assert await value(reward, task, {}) == 0.0, task.labels


FORGED = (
    'import os; m = b\'["done", "doctest:tiny/sums.py::clamp", "passed", ""]\\n\'; '
    "[os.write(fd, m) for fd in range(3, 30) if os.path.exists(f'/proc/self/fd/{fd}')]; return 99"
)
"""Code that finds the child's pipe and says on it that the examples passed."""


def broken(body: str) -> bytes:
    """The sound module with another body for `clamp`."""
    return MODULE.replace("    if x < low:\n", f"    {body}\n    if x < low:\n", 1).encode()


@pytest.mark.parametrize(
    "body",
    [
        "return 99",
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise SystemExit",
        "print('2 passed'); return 99",
        "while True: pass",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        FORGED,
        "x = bytearray(10**13)",
        ")",
    ],
)
async def test_wrong_crashing_hanging_and_lying_code_is_paid_nothing(reward: TestReward, task: Task, body: str) -> None:
    score = await reward.score(task, {SUMS: broken(body)}, None)
    assert (score.value, score.error) == (0.0, "")
    assert score.parts["f2p"] < 1


FLOOD = (
    "import os; there = lambda f: os.path.exists(f'/proc/self/fd/{f}')\n"
    "    while True: [os.write(f, bytes(65536)) for f in range(1, 16) if there(f)]"
)
LEAVES_A_CHILD = "import os, time\n    if os.fork() == 0: time.sleep(100)\n    return 99"


@pytest.mark.parametrize(("body", "said"), [(FLOOD, "no message"), (LEAVES_A_CHILD, "got: 99")])
async def test_a_flood_of_the_pipe_and_a_child_that_holds_it_are_not_waited_for(
    store: TaskStore, task: Task, body: str, said: str
) -> None:
    """An id may take longer here than the whole run may, so waiting for it would be seen."""
    factory = boxes(store.path)
    box = await factory.create(task.environment)
    await box.write(SUMS, broken(body))
    argv = ["python", "-m", "boxrun", "--report", "--seconds", "1000", "doctest:tiny/sums.py::clamp"]
    result = await box.exec(argv, seconds=60.0, warm=True)
    await factory.close()
    assert result.ended == "exit"
    report = json.loads(result.report)
    assert set(report["tests"].values()) <= {"failed", "error"} and said in "".join(report["failures"].values())


async def test_rewriting_the_examples_does_not_help(reward: TestReward, task: Task, store: TaskStore) -> None:
    text = MODULE.replace("    3\n    >>> clamp(-1", "    99\n    >>> clamp(-1")
    text = text.replace("    if x < low:", "    return 99\n    if x < low:")
    assert await value(reward, task, {SUMS: text.encode()}) == 0.0


async def test_tests_and_hooks_of_the_agent_are_ignored_and_counted(reward: TestReward, task: Task) -> None:
    changes: dict[str, bytes | None] = {
        "tests/test_sums.py": b"def test_clamp_inside(): pass\n",
        "conftest.py": b"import os; os._exit(0)\n",
        "sitecustomize.py": b"import os; os._exit(0)\n",
        "argparse.py": b"raise SystemExit(0)\n",
        "boxrun.py": b"print('fine')\n",
        "x.pth": b"import os\n",
    }
    score = await reward.score(task, changes, None)
    assert score.value == 0.0 and score.parts["refused"] == len(changes)


async def test_breaking_what_was_green_is_not_paid(reward: TestReward, task: Task) -> None:
    text = MODULE.replace("return total / len(values)", "return 0")
    score = await reward.score(task, {SUMS: text.encode()}, None)
    assert (score.value, score.parts["f2p"]) == (0.0, 1.0) and score.parts["p2p"] < 1


async def test_the_same_submission_is_run_once(reward: TestReward, task: Task) -> None:
    first = await reward.score(task, {}, None)
    again = await reward.score(task, {"tests/test_x.py": b""}, None)
    assert reward.cache.hits == 1 and again.failed == first.failed


class Broken:
    """A factory of a machine that is down."""

    def __init__(self) -> None:
        self.asked = 0

    async def create(self, environment: Environment) -> Sandbox:
        self.asked += 1
        raise SandboxError("no room")

    async def close(self) -> None:
        return


async def test_an_outage_is_no_verdict_and_is_not_remembered(task: Task) -> None:
    factory = Broken()
    reward = TestReward(factory)
    score = await reward.score(task, {}, None)
    assert (score.value, score.error, factory.asked) == (None, "SandboxError", 2)
    await reward.score(task, {}, None)
    assert factory.asked == 4


async def test_a_grader_of_another_kind_is_refused(task: Task) -> None:
    from dataclasses import replace

    with pytest.raises(GradingError, match="junit"):
        await TestReward(Broken()).score(replace(task, grader=Grader("junit")), {}, None)


@pytest.mark.parametrize("path", ["../x.py", "/etc/x.py", "a/../../x.py", "src/json.py", "pkg/.git/hooks/x", "a.so"])
def test_paths_that_never_enter(path: str) -> None:
    kept, refused = admissible({path: b"", "pkg/json.py": b""}, roots=("", "src"))
    assert list(kept) == ["pkg/json.py"] and list(refused) == [path]


def test_what_tools_leave_behind_takes_no_repairs_place() -> None:
    left: dict[str, bytes | None] = {f".tool/kept/{n:03}": b"x" for n in range(100)}
    kept, refused = admissible({**left, "pkg/a.py": b"x = 1"})
    assert "pkg/a.py" in kept and len(kept) == 64 and set(refused.values()) == {"too many files"}


@pytest.mark.parametrize(
    "changes",
    [{"tiny": b"x", "tiny/__init__.py": None, "tiny/sums.py": None}, {"tiny/sums.py/x.py": b""}, {"tests": b"x"}],
)
async def test_files_put_where_folders_are_fail_and_raise_nothing(
    reward: TestReward, task: Task, changes: dict[str, bytes | None]
) -> None:
    score = await reward.score(task, changes, None)
    assert score.value == 0.0 and score.failed == task.grader.fail_to_pass
