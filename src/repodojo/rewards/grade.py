"""The reward of a task: its tests, in a fresh box, on the agent's admissible changes and nothing else of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from repodojo.core.digest import fingerprint
from repodojo.core.errors import GradingError, OutageError, SandboxError
from repodojo.core.protocols import Sandbox, SandboxFactory
from repodojo.core.records import Score, Task, Trajectory
from repodojo.rewards.cache import VerdictCache, is_verdict
from repodojo.rewards.docstrings import Docstrings
from repodojo.rewards.filter import admissible
from repodojo.rewards.plain import forges
from repodojo.rewards.prepare import import_roots, shadowing
from repodojo.rewards.runner import CONFTEST, Verdicts, run_ids, shuffled
from repodojo.rewards.witness import Witness, fresh, sound_environment

ATTEMPTS = 2
Changes = Mapping[str, bytes | None]


@dataclass(frozen=True)
class Prepared:
    """A box ready for its tests: the changes that are in it, the docstrings that count by id, what the changed files
    held before, and how many changes were left out because they would hide an installed module."""

    changes: Changes
    texts: Mapping[str, str]
    base: Mapping[str, str]
    shadows: int


class TestReward:
    """1.0 where every expected id was reported and passed and the outside agrees, else 0.0; None with the error's name
    after two outages.

    The fail_to_pass ids run first; where they pass, all ids run in another order; where those pass, the function is
    questioned in a box without tests (`witness`). What the code under test does to itself (time, memory, exit) is a
    failure, where a control run of sound code shows that the machine is not to blame.

    `parts`: f2p and p2p, the share of each that passed; witness, the share of answers that were right (absent where
    nothing could be asked); forbidden, 1 where nothing could be, or nothing new, and the change uses what could forge
    results; claimed, 1 where all tests passed and the outside does not agree (f2p and p2p are 0 then);
    evidence:NAME, 1 where a run ended so; refused, the number of files that did not count.

    >>> reward = TestReward(LocalFactory(Path("tasks")))             # doctest: +SKIP
    >>> (await reward.score(task, gold_changes, None)).value         # doctest: +SKIP
    1.0
    """

    __test__ = False  # its name must not make pytest collect it

    def __init__(self, factory: SandboxFactory, *, cache: VerdictCache | None = None, warm: bool = True) -> None:
        self.factory = factory
        self.cache = cache or VerdictCache()
        self.warm = warm
        self.witness = Witness(factory)
        self._docstrings = Docstrings(factory)

    async def score(self, task: Task, changes: Changes, trajectory: Trajectory | None) -> Score:
        """Grade `changes` (path to bytes, None: deleted). Raises GradingError for a grader of another kind."""
        if task.grader.kind != "f2p_p2p" or not task.grader.fail_to_pass:
            raise GradingError(
                f"task {task.id} has a grader of kind {task.grader.kind!r} that TestReward cannot run",
                way_out="use a reward for that kind",
            )
        kept, refused = admissible(changes, task.protected, import_roots(task))
        known = await self.cache.of((task.id, fingerprint(kept)), lambda: self._graded(task, kept), is_verdict)
        parts = {**known.parts, "refused": known.parts.get("refused", 0.0) + len(refused)}
        return replace(known, parts=parts)

    async def _graded(self, task: Task, changes: Changes) -> Score:
        """Two attempts. Where both broke while the code under test ran, a control run tells whose fault that is."""
        started = time.monotonic()
        name, broke = "", 0
        for _ in range(ATTEMPTS):
            entered = False
            try:
                box = await self.factory.create(task.environment)
                try:
                    ready = await self._prepare(box, task, changes)
                    entered = True
                    score = await self._judge(box, task, ready) if ready else _failed(task, "unwritable")
                finally:
                    await box.close()
                return replace(score, seconds=time.monotonic() - started)
            except OutageError as error:
                name = type(error).__name__
                broke += entered and isinstance(error, SandboxError)  # a GradingError has had its control run
        if broke == ATTEMPTS and changes and await self._control(task):
            return _failed(task, "outage", time.monotonic() - started)
        return Score(None, error=name, seconds=time.monotonic() - started)

    async def _prepare(self, box: Sandbox, task: Task, changes: Changes) -> Prepared | None:
        """Fill a fresh box; None where the changes do not fit into it."""
        grader = task.grader
        texts = await self._docstrings.of(task, (*grader.fail_to_pass, *grader.pass_to_pass), box)
        base = {path: await _text(box, path) for path in changes}
        new = {path: data for path, data in changes.items() if not base[path]}  # what was there hides nothing else
        shadows = await shadowing(box, new, import_roots(task))
        changes = {path: data for path, data in changes.items() if path not in shadows}
        try:
            for path, data in changes.items():
                await box.write(path, data)
            for path, text in task.hidden_files.items():
                await box.write(path, text.encode())
        except OSError:  # a file where the tree has a folder, or the other way round: the agent's own doing
            return None
        return Prepared(changes, texts, base, len(shadows))

    async def _judge(self, box: Sandbox, task: Task, ready: Prepared) -> Score:
        grader = task.grader
        red = await self._run(box, task, grader.fail_to_pass, ready.texts)
        passed, failed = red.split(grader.fail_to_pass)
        parts = {"f2p": len(passed) / len(grader.fail_to_pass), "refused": float(ready.shadows)}
        if red.ended:
            parts[f"evidence:{red.ended}"] = 1.0
        if not failed:
            both = (*grader.fail_to_pass, *grader.pass_to_pass)
            again = await self._run(box, task, shuffled(both, task.id), ready.texts)
            passed, failed = again.split(both)
            held = [i for i in grader.pass_to_pass if i in passed]
            if grader.pass_to_pass:
                parts["p2p"] = len(held) / len(grader.pass_to_pass)
            if again.ended:
                parts[f"evidence:{again.ended}"] = 1.0
        if failed:
            return Score(0.0, parts=parts, passed=passed, failed=failed)
        if await self._stands(task, ready, parts):
            return Score(1.0, parts=parts, passed=passed)
        for name in {"f2p", "p2p"} & parts.keys():
            parts[name] = 0.0  # no share of a forgery is worth anything
        return Score(0.0, parts={**parts, "claimed": 1.0}, failed=passed)

    async def _stands(self, task: Task, ready: Prepared, parts: dict[str, float]) -> bool:
        """Whether what passed the tests also answers as it should where no test is; tells `parts`."""
        cases = await self.witness.cases(task, ready.texts)
        if cases:
            testimony = await self.witness.ask(task, ready.changes, cases)
            parts["witness"] = testimony.share
            if not testimony.sound or any(map(fresh, cases)):
                return testimony.sound
        # what was asked, if anything, a table of the tests' calls knows too
        parts["forbidden"] = float(any(forges(p, data, ready.base[p].encode()) for p, data in ready.changes.items()))
        return not parts["forbidden"]

    async def _run(self, box: Sandbox, task: Task, ids: Sequence[str], texts: Mapping[str, str]) -> Verdicts:
        """Run ids; where the run ended badly, sound code must fare better on this machine now, or it is an outage."""
        found = await self._once(box, task, ids, texts)
        if found.ended in ("timeout", "late", "killed", "memory", "broken") and not await self._control(task):
            raise GradingError(f"sound code ends by {found.ended!r} too: the machine is too busy or too small")
        return found

    async def _once(self, box: Sandbox, task: Task, ids: Sequence[str], texts: Mapping[str, str]) -> Verdicts:
        conftest = CONFTEST in task.grader.command.split()
        return await run_ids(box, ids, texts, task.grader.timeout, warm=self.warm, conftest=conftest)

    async def _control(self, task: Task) -> bool:
        """Whether sound code (where none is known: the task's base) completes the same tests now."""
        sound = sound_environment(task) or task.environment
        try:
            box = await self.factory.create(sound)
            try:
                ready = await self._prepare(box, task, {})
                if ready is None:
                    return False
                ids = task.grader.fail_to_pass
                return not (await self._once(box, task, ids, ready.texts)).ended
            finally:
                await box.close()
        except OutageError:
            return False


async def _text(box: Sandbox, path: str) -> str:
    try:
        return (await box.read(path)).decode(errors="replace")
    except OSError:  # not there, or a folder
        return ""


def _failed(task: Task, evidence: str, seconds: float = 0.0) -> Score:
    """Nothing passed, and why no test could say so."""
    parts = {"f2p": 0.0, f"evidence:{evidence}": 1.0}
    return Score(0.0, parts=parts, failed=task.grader.fail_to_pass, seconds=seconds)
