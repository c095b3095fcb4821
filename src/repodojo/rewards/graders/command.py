"""The reward of tasks that a command judges: the same fresh box and the same filter as for test ids."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace

from repodojo.core.digest import fingerprint
from repodojo.core.errors import GradingError, OutageError, SandboxError
from repodojo.core.protocols import ExecResult, Sandbox, SandboxFactory
from repodojo.core.records import Environment, Score, Task, Trajectory
from repodojo.rewards.cache import VerdictCache, is_verdict
from repodojo.rewards.docstrings import Docstrings
from repodojo.rewards.filter import admissible
from repodojo.rewards.grade import ATTEMPTS
from repodojo.rewards.graders.base import RESULT, Judge, Ran
from repodojo.rewards.graders.exit_code import ExitCode
from repodojo.rewards.graders.junit import JUnit
from repodojo.rewards.graders.node_tests import NodeTests
from repodojo.rewards.graders.reward_file import RewardFile
from repodojo.rewards.graders.status_map import StatusMap
from repodojo.rewards.graders.text import PARSERS, Text, compared, path_of
from repodojo.rewards.plain import forges
from repodojo.rewards.prepare import import_roots, shadowing
from repodojo.rewards.witness import Witness, sound_environment

Changes = Mapping[str, bytes | None]
JUDGES: dict[str, Judge] = {
    "exit_code": ExitCode(),
    "status_map": StatusMap(),
    "reward_file": RewardFile(),
    "junit": JUnit(),
    "text": Text(),
}
OF_PARSER: dict[str, Judge] = {"node": NodeTests()}
"""Judges of test ids, by what reads the report."""


class CommandReward:
    """What the grader's judge makes of its command; None with the error's name after two outages.

    What is paid in full is asked from outside too, where the task's function can be (see `witness`); `parts` then has
    `witness`, and `claimed` where the outside did not agree. A command that meets a limit is a failure where the
    control run of sound code does not.
    """

    def __init__(self, factory: SandboxFactory, *, cache: VerdictCache | None = None) -> None:
        self.factory = factory
        self.cache = cache or VerdictCache()
        self.witness = Witness(factory)
        self._docstrings = Docstrings(factory)

    async def score(self, task: Task, changes: Changes, trajectory: Trajectory | None) -> Score:
        """Grade `changes`. GradingError for a grader that lacks what its kind needs."""
        judge = _judge(task)
        kept, refused = admissible(changes, task.protected, import_roots(task))
        known = await self.cache.of((task.id, fingerprint(kept)), lambda: self._graded(task, kept, judge), is_verdict)
        return replace(known, parts={**known.parts, "refused": known.parts.get("refused", 0.0) + len(refused)})

    async def _graded(self, task: Task, changes: Changes, judge: Judge) -> Score:
        started, name, broke = time.monotonic(), "", 0
        if not task.grader.command:  # a text, for which nothing need run
            data = changes.get(path_of(task)) or b""
            return compared(data.decode("utf-8", "replace"), task.grader.expected["output"], task.grader.parser)
        for _ in range(ATTEMPTS):
            try:
                score = await self._once(task, changes, judge)
                return replace(score, seconds=time.monotonic() - started)
            except OutageError as error:
                name = type(error).__name__
                broke += isinstance(error, SandboxError)
        if broke == ATTEMPTS and changes and await self._sound_ends(task, judge):
            return Score(0.0, parts={"evidence:outage": 1.0}, seconds=time.monotonic() - started)
        return Score(None, error=name, seconds=time.monotonic() - started)

    async def _once(self, task: Task, changes: Changes, judge: Judge) -> Score:
        box = await self.factory.create(task.environment)
        try:
            texts = await self._docstrings.of(task, task.visible_tests, box)
            hidden = await shadowing(box, changes, import_roots(task))
            changes = {path: data for path, data in changes.items() if path not in hidden}
            base = {path: await _read(box, path) for path in changes} if task.grader.kind == "f2p_p2p" else {}
            found = await self._run(box, task, changes, judge)
        finally:
            await box.close()
        if found is None:
            return Score(0.0, parts={"evidence:unwritable": 1.0})
        result, files = found
        if result.ended != "exit":
            if result.ended != "output" and not await self._sound_ends(task, judge):
                raise GradingError(f"the command ends by {result.ended!r} on sound code too")
            return Score(0.0, parts={f"evidence:{result.ended}": 1.0})
        score = judge.score(task, Ran(result.exit_code or 0, result.output, files, result.report))
        score = replace(score, parts={**score.parts, "refused": float(len(hidden))})
        if score.solved and any(forges(path, changes[path], before) for path, before in base.items()):
            return Score(0.0, parts={"forbidden": 1.0, "claimed": 1.0}, failed=score.passed)
        return await self._asked(task, changes, texts, score) if score.solved else score

    async def _run(
        self, box: Sandbox, task: Task, changes: Changes, judge: Judge
    ) -> tuple[ExecResult, dict[str, bytes]] | None:
        """The command's end, and the files that count; None where the changes do not fit into the box."""
        result = f"/tmp/result-{secrets.token_hex(8)}"
        files = judge.files(task, result)
        try:
            for path, data in changes.items():
                await box.write(path, data)
            for path, text in task.hidden_files.items():
                await box.write(path, text.encode())
        except OSError:  # a file where the tree has a folder: the agent's own doing
            return None
        for path in files.values():
            try:
                await box.write(path, None)
            except FileNotFoundError:
                continue
            except OSError:
                return None
        done = await box.exec(
            ("bash", "-c", task.grader.command),
            env={RESULT: result, **judge.variables(task, result)},
            seconds=task.grader.timeout,
        )
        left = {name: await _read(box, path) for name, path in files.items()}
        return done, {name: data for name, data in left.items() if data is not None}

    async def _asked(self, task: Task, changes: Changes, texts: Mapping[str, str], score: Score) -> Score:
        """What was paid in full, asked from outside."""
        cases = await self.witness.cases(task, texts)
        if not cases:
            return score
        testimony = await self.witness.ask(task, changes, cases)
        parts = {**score.parts, "witness": testimony.share}
        if testimony.sound:
            return replace(score, parts=parts)
        return Score(0.0, parts={**parts, "claimed": 1.0}, failed=score.passed)

    async def _sound_ends(self, task: Task, judge: Judge) -> bool:
        """Whether the command ends by itself now on sound code (where none is known: on the task's base)."""
        environment: Environment = sound_environment(task) or task.environment
        try:
            box = await self.factory.create(environment)
            try:
                found = await self._run(box, task, {}, judge)
            finally:
                await box.close()
        except OutageError:
            return False
        return found is not None and found[0].ended == "exit"


def _judge(task: Task) -> Judge:
    """The judge of a task's grader; GradingError where there is none, or the grader lacks what it needs."""
    grader = task.grader
    judge = OF_PARSER.get(grader.parser) if grader.kind == "f2p_p2p" else JUDGES.get(grader.kind)
    lack = ""
    if judge is None:
        lack = "is no command's"
    elif grader.kind == "text" and ("output" not in grader.expected or grader.parser not in PARSERS):
        lack = f"needs expected['output'], and a parser out of {', '.join(PARSERS[1:])}"
    elif grader.kind == "text" and not grader.command and not path_of(task):
        lack = "names neither a command nor a file"
    elif grader.kind == "f2p_p2p" and not grader.fail_to_pass:
        lack = "names no test that must turn green"
    elif grader.kind == "status_map" and not grader.expected:
        lack = "expects no test"
    elif grader.kind != "text" and not grader.command:
        lack = "has no command"
    if judge is None or lack:
        raise GradingError(f"the grader of task {task.id} ({grader.kind}) {lack}", way_out="mend the task's grader")
    return judge


async def _read(box: Sandbox, path: str) -> bytes | None:
    try:
        return await box.read(path)
    except OSError:  # missing, a folder, a link, too large
        return None
