"""What a busy machine costs a commit is no verdict: tried again, in the call and in later ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tiny_history import PROJECT, TESTS, Git
from tiny_package import boxes, quiet

from repodojo.core.errors import SandboxError
from repodojo.core.records import Score, Task
from repodojo.rewards.graders.graded import GradedReward
from repodojo.tasks.history import attempt
from repodojo.tasks.history.attempt import InDoubt, Patient, Workshop
from repodojo.tasks.history.make import DOUBTS, Journal, Options, make
from repodojo.tasks.history.walk import Commit
from repodojo.tasks.runs import Report
from repodojo.tasks.store import TaskStore

WHOLE = Report({"a": "passed"})
LATE = Report({"a": "failed"}, {"a": "got: no answer after 30 s"})
CUT = Report(ended="timeout")


@pytest.mark.parametrize(
    ("seen", "mended", "wanted"),
    [
        ([WHOLE], True, WHOLE),
        ([CUT, WHOLE], True, WHOLE),
        ([LATE, WHOLE], True, WHOLE),
        ([LATE, LATE], True, LATE),
        ([CUT, CUT], False, CUT),
        ([CUT, CUT], True, None),
    ],
)
async def test_a_run_gets_a_second_chance_with_more_time(
    seen: list[Report], mended: bool, wanted: Report | None
) -> None:
    given, patient = list[float](), Patient()

    async def once(more: float) -> Report:
        given.append(more)
        return seen[len(given) - 1]

    if wanted is None:
        with pytest.raises(InDoubt, match="timeout"):
            await patient.run(once, mended)
    else:
        assert await patient.run(once, mended) == wanted
    assert given == [1.0, attempt.MORE][: len(seen)]
    if seen == [LATE, LATE]:
        given.clear()
        assert await patient.run(once, mended) == LATE and given == [1.0]  # it hangs, and is not waited for again


def test_a_commit_in_doubt_is_tried_in_three_calls(tmp_path: Path) -> None:
    for number in range(1, DOUBTS + 1):
        journal = Journal(tmp_path, "p", Options(), {})
        assert journal.decided("c") is None
        journal.write("c", "lost: not paid as graded, evidence:late", "", True, True)
        assert journal.known["c"]["doubts"] == number
    assert Journal(tmp_path, "p", Options(), {}).decided("c") is not None
    journal.write("d", "kept", "t", True, False)
    assert Journal(tmp_path, "p", Options(), {}).decided("d") is not None


class Busy(GradedReward):
    """Grades as ever, but the machine is said to be too busy for the first few gradings of a solution."""

    __test__ = False
    left = 0

    async def score(self, task: Task, changes: Mapping[str, bytes | None], trajectory: object) -> Score:
        if changes and Busy.left:
            Busy.left -= 1
            return Score(0.0, parts={"f2p": 0.0, "evidence:late": 1.0})
        return await super().score(task, changes, None)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    git = Git(tmp_path_factory.mktemp("doubt") / "tiny")
    code = "def clamp(x, low, high):\n    return min(x, high)\n\n\ndef double(x):\n    return 2 * x\n"
    git.commit(
        "Begin", {"pyproject.toml": PROJECT, "tiny/__init__.py": "", "tiny/sums.py": code, "tests/test_s.py": TESTS}
    )
    more = TESTS + "\n\ndef test_low():\n    assert clamp(-1, 0, 3) == 0\n"
    fixed = code.replace("min(x, high)", "max(low, min(x, high))")
    git.commit("Keep numbers above the lower bound", {"tiny/sums.py": fixed, "tests/test_s.py": more})
    return git.root


def run(source: Path, store: Path) -> Counter[str]:
    async def all_of_it() -> Counter[str]:
        factory = boxes(store)
        try:
            return await make(str(source), TaskStore(store, create=True), Options(sure=1), factory, {}, quiet)
        finally:
            await factory.close()

    return asyncio.run(all_of_it())


def test_load_costs_no_commit(history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "GradedReward", Busy)
    Busy.left = attempt.GRADINGS  # the first try is in doubt, the second of the same call is not
    assert run(history, tmp_path / "a")["validated"] == 1 and not Busy.left
    Busy.left = 2 * attempt.GRADINGS  # both are: the next call tries again
    first = run(history, tmp_path / "b")
    assert first["lost: not paid as graded, evidence:late"] == 1 and not first["validated"]
    assert run(history, tmp_path / "b")["validated"] == 1


def test_an_outage_is_tried_again_in_the_same_call(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., object] = Workshop.prepare
    calls: list[str] = []

    def prepare(shop: Workshop, commit: Commit) -> object:
        calls.append(commit.id)
        if len(calls) == 1:
            raise SandboxError("the machine was away")
        return real(shop, commit)

    monkeypatch.setattr(Workshop, "prepare", prepare)
    found = run(history, tmp_path / "s")
    assert len(calls) == 2 and found["validated"] == 1 and not found["outage: SandboxError"]
