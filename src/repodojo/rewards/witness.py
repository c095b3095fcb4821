"""What the code under test cannot forge: its answers to calls whose results are known only outside its box.

Tests run in one process with the code that they judge, which may lie to them in any way Python knows. So a submission
that passes them is asked again: in another box, without tests and without expected values, its function is called with
the arguments that the hidden tests give it in sound code, and with variants of these. It answers in plain values; the
comparison with the sound code's own answers happens here, on the host. Twice, in fresh processes and another order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from repodojo.core.errors import GradingError
from repodojo.core.protocols import Sandbox, SandboxFactory
from repodojo.core.records import Environment, Task
from repodojo.core.remembered import Remembered
from repodojo.rewards.agree import agree
from repodojo.rewards.variants import Call, Known, variants, wilder

MOST_CALLS = 40
VARIANTS = 40
CALL_SECONDS = 0.5
IN_ORDER = -1
"""Instead of the number of a shuffled order."""
ROUNDS = 4
"""Tries to find cases whose answers do not hang on which others are asked."""
CUT = ("timeout", "memory", "killed")
"""Ends of a run that a busy or small machine can bring about as well as the code in it."""
SHARE = 0.5
"""Of the variants that show the bug, how many must be right. Not all: beyond what is tested, sound answers differ."""


Files = Mapping[str, bytes | None]


@dataclass(frozen=True)
class Case:
    """A call and the sound code's answer. `shown`: a hidden test makes it; `telling`: the unmended code answers
    otherwise; `new`: the places of arguments that no shown call gives, nor an equal one: where there is none, a table
    of those calls may know the answer; `ordered`: asked in its turn, for sound answers hang on those before."""

    call: Call
    wanted: list[Any]
    shown: bool
    telling: bool
    new: tuple[str, ...] = ()
    ordered: bool = False


@dataclass(frozen=True)
class Testimony:
    """How many of the hidden tests' calls, and of the telling variants, were answered as by sound code; `fresh` tells
    the same (asked, right) of the variants with a new argument in each place."""

    __test__ = False

    shown: int
    shown_right: int
    variants: int
    variants_right: int
    fresh: Mapping[str, tuple[int, int]]

    @property
    def sound(self) -> bool:
        """All calls of the tests right, and enough of the variants, in each place: a table knows nothing new where it
        looks, however many variants are new elsewhere. True where there is nothing to ask."""
        asked = [(self.variants, self.variants_right), *self.fresh.values()]
        return self.shown_right == self.shown and all(right >= SHARE * count for count, right in asked)

    @property
    def share(self) -> float:
        """Of all that was asked, how much was right; 1 where nothing was."""
        asked = self.shown + self.variants
        return (self.shown_right + self.variants_right) / asked if asked else 1.0


@dataclass(frozen=True)
class Answers:
    """Answer by number of the call (what the code did not live to answer is missing), and how the run ended."""

    by: Mapping[int, Any]
    ended: str


def unseen(case: Case) -> bool:
    """Whether a case that nobody was shown has a say: the bug answers it otherwise, and sound code with a value."""
    return not case.shown and case.telling and case.wanted[0] != "raise"


def fresh(case: Case) -> bool:
    """The same of a case that holds something new, which no table of the shown calls knows."""
    return unseen(case) and bool(case.new)


class Witness:
    """Cases of each task, worked out at the first submission that needs them (some tenths of a second), then kept."""

    def __init__(self, factory: SandboxFactory, *, remembered: int = 4096, salt: str = "") -> None:
        """`salt` draws other variants than those of a witness without it."""
        self.factory, self.salt = factory, salt
        self._cases = Remembered[str, tuple[Case, ...]](remembered)

    async def cases(self, task: Task, docstrings: Mapping[str, str]) -> tuple[Case, ...]:
        """The cases of a task; () where its function or its arguments cannot be told in plain terms."""
        return await self._cases.of(task.id, lambda: self._work_out(task, docstrings))

    async def ask(self, task: Task, changes: Mapping[str, bytes | None], cases: Sequence[Case]) -> Testimony:
        """Question the changed code; a variant that the bug does not touch has no say, so it is not asked."""
        cases = [case for case in cases if case.shown or unseen(case)]
        right = await self.right(task, changes, cases)
        shown = [ok for ok, case in zip(right, cases, strict=True) if case.shown]
        others = [ok for ok, case in zip(right, cases, strict=True) if not case.shown]
        new: dict[str, list[bool]] = {}
        for ok, case in zip(right, cases, strict=True):
            for place in () if case.shown else case.new:
                new.setdefault(place, []).append(ok)
        by_place = {place: (len(found), sum(found)) for place, found in new.items()}
        return Testimony(len(shown), sum(shown), len(others), sum(others), by_place)

    async def right(self, task: Task, changes: Mapping[str, bytes | None], cases: Sequence[Case]) -> list[bool]:
        """Whether each case is answered as by sound code, both times that it is asked.

        Raises GradingError where the answers broke off, as those of sound code do on this machine now.
        """
        right = [True] * len(cases)
        calls = [case.call for case in cases]
        ordered = any(case.ordered for case in cases)
        for turn in range(2 if cases else 0):
            told = await self._answers(task, task.environment, changes, calls, IN_ORDER if ordered else turn)
            if told.ended in CUT and await self._sound_is_cut_off(task, calls):
                raise GradingError(f"answers of sound code end by {told.ended!r} too: the machine is too busy")
            right = [ok and agree(c.wanted, told.by.get(i)) for i, (ok, c) in enumerate(zip(right, cases, strict=True))]
        return right

    async def _sound_is_cut_off(self, task: Task, calls: Sequence[Call]) -> bool:
        """Whether sound code does not live to answer either."""
        sound = sound_environment(task)
        return sound is not None and (await self._answers(task, sound, {}, calls, 0)).ended in CUT

    def remembered(self, task: Task) -> tuple[Case, ...]:
        """The cases of a task if they have been worked out."""
        return self._cases.get(task.id) or ()

    async def _work_out(self, task: Task, docstrings: Mapping[str, str]) -> tuple[Case, ...]:
        sound = sound_environment(task)
        if sound is None or len(task.focus) != 1:
            return ()
        seen, files = await self._record(task, sound, docstrings)
        others = variants(seen, VARIANTS, task.id + self.salt)
        known = Known(seen)
        found = await self._compared(task, sound, files, seen, others, known)
        asked = len(seen) + len(others)
        if seen and not any(unseen(case) for case in found):  # else the tests' calls by heart would be enough
            others = wilder(seen, VARIANTS, task.id + self.salt)
            found += await self._compared(task, sound, files, (), others, known)
            asked += len(others)
        if len(found) < asked:  # some answers hang on more than the call, so those that agreed may do so by chance
            found = await self._settled(task, files, found)
        if seen and not any(fresh(case) for case in found):
            others = [case.call for case in found if unseen(case)]
            found = await self._in_order(task, sound, files, [*seen, *seen, *seen, *others]) or found
        return tuple(found) if any(case.telling for case in found) else ()

    async def _in_order(self, task: Task, sound: Environment, files: Files, calls: Sequence[Call]) -> list[Case]:
        """Calls that count as the tests' own, each in its turn: where answers hang on those before (a counter), whoever
        knows the tests' answers by their number runs out of them. [] where sound code is not steady in that either, or
        the unmended code answers alike."""
        calls = calls[:MOST_CALLS]
        first = await self._answers(task, sound, {}, calls, IN_ORDER)
        again = await self._answers(task, task.environment, files, calls, IN_ORDER)
        _lived(first, again)
        if not all(agree(first.by.get(i), again.by.get(i)) for i in range(len(calls))):
            return []
        bug = await self._answers(task, task.environment, {}, calls, IN_ORDER)
        telling = [not agree(first.by[i], bug.by.get(i)) for i in range(len(calls))]
        cases = [Case(call, first.by[i], True, telling[i], ordered=True) for i, call in enumerate(calls)]
        return cases if any(telling) else []

    async def _compared(
        self,
        task: Task,
        sound: Environment,
        files: Files,
        seen: Sequence[Call],
        others: Sequence[Call],
        known: Known,
    ) -> list[Case]:
        """What sound code answers steadily, and whether the unmended code answers otherwise.

        The second time its `files` are in the task's own environment, as a solution's are: that is another process,
        where what hangs on addresses (the hash of None) is another too.
        """
        calls = [*seen, *others]
        first = await self._answers(task, sound, {}, calls, 0)
        if first.ended in CUT:  # a variant may be one that sound code never answers
            calls = list(seen)
            first = await self._answers(task, sound, {}, calls, 0)
        again = await self._answers(task, task.environment, files, calls, 1)
        _lived(first, again)
        bug = await self._answers(task, task.environment, {}, calls, 0)
        steady = [i for i in range(len(calls)) if agree(first.by.get(i), again.by.get(i))]
        telling = {i: not agree(first.by[i], bug.by.get(i)) for i in steady}
        return [Case(calls[i], first.by[i], i < len(seen), telling[i], known.new(calls[i])) for i in steady]

    async def _settled(self, task: Task, files: Files, found: Sequence[Case]) -> list[Case]:
        """The cases that sound code answers alike when it is asked just what a submission is. Where calls leave traces
        (a counter), each that is dropped changes the others' answers; none where that comes to no end."""
        for _ in range(ROUNDS):
            cases = [case for case in found if case.shown or unseen(case)]
            right = await self.right(task, files, cases)
            found = [case for case, ok in zip(cases, right, strict=True) if ok]
            if all(right):
                return list(found)
        return []

    async def _record(self, task: Task, sound: Environment, docstrings: Mapping[str, str]) -> tuple[list[Call], Files]:
        """The calls that the hidden tests make of sound code, and the sound files that the task has broken."""
        broken = {edit["path"] for edit in task.environment.recipe["edits"]} - set(task.protected)
        box = await self.factory.create(sound)
        try:
            files: dict[str, bytes | None] = {path: await box.read(path) for path in sorted(broken)}
            for path, text in task.hidden_files.items():
                await box.write(path, text.encode())
            ids = task.grader.fail_to_pass if task.grader.kind == "f2p_p2p" else task.visible_tests
            work = {"function": task.focus[0], "ids": ids, "most": MOST_CALLS}
            work["docstrings"] = {name: docstrings[name] for name in ids if name in docstrings}
            lines, ended = await _run(box, "record", work, task.grader.timeout)
        finally:
            await box.close()
        if ended in CUT:
            raise GradingError(f"a run of sound code ended by {ended!r}: the machine is too busy or too small")
        return [line for line in lines if len(line) == 2], files

    async def _answers(
        self,
        task: Task,
        environment: Environment,
        changes: Mapping[str, bytes | None],
        calls: Sequence[Call],
        turn: int,
    ) -> Answers:
        """What the code answers; it is not run where there is nothing to ask."""
        if not calls:
            return Answers({}, "exit")
        box = await self.factory.create(environment)
        try:
            for path, data in changes.items():
                await box.write(path, data)
            order = [[number, *call] for number, call in enumerate(calls)]
            if turn != IN_ORDER:
                random.Random(turn).shuffle(order)
            work = {"function": task.focus[0], "calls": order, "seconds": CALL_SECONDS}
            lines, ended = await _run(box, "answer", work, task.grader.timeout)
        finally:
            await box.close()
        answers: dict[int, Any] = {}
        for line in lines:
            if len(line) == 2 and isinstance(line[0], int):
                answers.setdefault(line[0], line[1])  # the first word counts
        return Answers(answers, ended)


def _lived(*answers: Answers) -> None:
    """GradingError where sound code was cut off, which says nothing of the code."""
    if any(found.ended in CUT for found in answers):
        raise GradingError("sound code does not live to answer: the machine is too busy or too small")


async def _run(box: Sandbox, mode: str, work: Mapping[str, Any], seconds: float) -> tuple[list[list[Any]], str]:
    """The lists among the lines that came back, up to the first that is none, and how the run ended."""
    argv = ("python", "-m", "boxwitness", mode)
    result = await box.exec(argv, stdin=json.dumps(work).encode(), seconds=seconds, warm=True)
    found: list[list[Any]] = []
    for line in result.report.splitlines():
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(data, list):
            break
        found.append(data)
    return found, result.ended


def sound_environment(task: Task) -> Environment | None:
    """The environment without the bug; None where the recipe does not say where that is."""
    recipe = task.environment.recipe
    if "edits" not in recipe or not any(edit["path"] not in task.protected for edit in recipe["edits"]):
        return None
    kept = [edit for edit in recipe["edits"] if edit["path"] in task.protected]
    return replace(task.environment, recipe={**recipe, "edits": kept})
