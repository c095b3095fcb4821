"""The reward of a task: its tests, in a fresh box, on the agent's admissible changes and nothing else of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from repodojo.core.digest import fingerprint
from repodojo.core.errors import GradingError, OutageError
from repodojo.core.protocols import Sandbox, SandboxFactory
from repodojo.core.records import Score, Task, Trajectory
from repodojo.rewards.cache import VerdictCache
from repodojo.rewards.docstrings import Docstrings
from repodojo.rewards.filter import admissible

ATTEMPTS = 2
PASSED = "passed"


class TestReward:
    """1.0 where every expected id was reported and passed, else 0.0; None with the error's name after two outages.

    The fail_to_pass ids run first, the pass_to_pass ids only where those pass. `parts` holds the share of each that
    passed and the number of refused files. What the code under test does to itself (time, memory, exit) is a failure.

    >>> reward = TestReward(LocalFactory(Path("tasks")))             # doctest: +SKIP
    >>> (await reward.score(task, gold_changes, None)).value         # doctest: +SKIP
    1.0
    """

    __test__ = False  # its name must not make pytest collect it

    def __init__(self, factory: SandboxFactory, *, cache: VerdictCache | None = None) -> None:
        self.factory = factory
        self.cache = cache or VerdictCache()
        self._docstrings = Docstrings()

    async def score(self, task: Task, changes: Mapping[str, bytes | None], trajectory: Trajectory | None) -> Score:
        """Grade `changes` (path to bytes, None: deleted). Raises GradingError for a grader of another kind."""
        if task.grader.kind != "f2p_p2p" or not task.grader.fail_to_pass:
            raise GradingError(
                f"task {task.id} has a grader of kind {task.grader.kind!r} that TestReward cannot run",
                way_out="use a reward for that kind",
            )
        prefix = f"{task.environment.work_dir.rstrip('/')}/"
        paths = task.environment.variables.get("PYTHONPATH", "").split(":")
        roots = tuple(dict.fromkeys(["", *(p.removeprefix(prefix) for p in paths if p.startswith(prefix))]))
        kept, refused = admissible(changes, task.protected, roots)
        mark = fingerprint(kept)
        known = self.cache.get(task.id, mark)
        if known is None:
            known = await self._graded(task, kept)
            self.cache.put(task.id, mark, known)
        return replace(known, parts={**known.parts, "refused": float(len(refused))})

    async def _graded(self, task: Task, changes: Mapping[str, bytes | None]) -> Score:
        started = time.monotonic()
        name = ""
        for _ in range(ATTEMPTS):
            try:
                box = await self.factory.create(task.environment)
                try:
                    score = await self._in_box(box, task, changes)
                finally:
                    await box.close()
                return replace(score, seconds=time.monotonic() - started)
            except OutageError as error:
                name = type(error).__name__
        return Score(None, error=name, seconds=time.monotonic() - started)

    async def _in_box(self, box: Sandbox, task: Task, changes: Mapping[str, bytes | None]) -> Score:
        grader = task.grader
        texts = await self._docstrings.of(task, (*grader.fail_to_pass, *grader.pass_to_pass), box)
        try:
            for path, data in changes.items():
                await box.write(path, data)
            for path, text in task.hidden_files.items():
                await box.write(path, text.encode())
        except OSError:  # a file where the tree has a folder, or the other way round: the agent's own doing
            return Score(0.0, parts={"f2p": 0.0}, failed=grader.fail_to_pass)
        red = await _run(box, grader.fail_to_pass, texts, grader.timeout)
        passed = [i for i in grader.fail_to_pass if red.get(i) == PASSED]
        failed = [i for i in grader.fail_to_pass if red.get(i) != PASSED]
        parts = {"f2p": len(passed) / len(grader.fail_to_pass)}
        if not failed and grader.pass_to_pass:
            green = await _run(box, grader.pass_to_pass, texts, grader.timeout)
            held = [i for i in grader.pass_to_pass if green.get(i) == PASSED]
            failed = [i for i in grader.pass_to_pass if green.get(i) != PASSED]
            parts["p2p"] = len(held) / len(grader.pass_to_pass)
            passed += held
        return Score(float(not failed), parts=parts, passed=tuple(passed), failed=tuple(failed))


async def _run(box: Sandbox, ids: Sequence[str], texts: Mapping[str, str], seconds: float) -> Mapping[str, str]:
    """Status by id; {} where the run did not complete, which the code under test is answerable for."""
    wanted = {name: texts[name] for name in ids if name in texts}
    result = await box.exec(
        ["python", "-m", "boxrun", "--report", "--stdin", *ids],
        stdin=json.dumps({"docstrings": wanted}).encode(),
        seconds=seconds,
        warm=True,
    )
    try:
        report = json.loads(result.report) if result.ended == "exit" else {}
    except ValueError:
        return {}
    if not isinstance(report, dict) or report.get("complete") is not True:
        return {}
    tests: Mapping[str, str] = report["tests"]
    return tests
