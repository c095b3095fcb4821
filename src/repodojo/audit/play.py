"""Plays attacks and controls against a reward: who was paid, and what stood in the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from repodojo.audit.attack import Attack
from repodojo.audit.journal import Journal, of_task
from repodojo.core.errors import OutageError
from repodojo.core.protocols import Reward, SandboxFactory
from repodojo.core.records import Score, Task
from repodojo.rewards.attacker import Truth
from repodojo.rewards.filter import admissible
from repodojo.rewards.prepare import import_roots

Changes = Mapping[str, bytes | None]
CONTROLS = ("no-op", "gold", "gold with noise")
PAID_CONTROLS = CONTROLS[1:]
"""Controls that must be paid; everything else must not."""
RETRIES = 2
ROUNDING = 1e-9
MENDS = "none needed: it mends this task"


@dataclass(frozen=True)
class Play:
    """One attack (or control) on one task. `paid` is None where an outage left no verdict; `defence` says what refused
    it, or what went wrong; family is 0 for a user's own attack, -1 for a control. `value` is the reward, and `partly`
    says that it is more than doing nothing earns though the task is not solved (intermediate scores can be so)."""

    name: str
    family: int
    task_id: str
    paid: bool | None
    defence: str
    seconds: float = 0.0
    value: float | None = None
    partly: bool = False

    @property
    def good(self) -> bool:
        """Whether it is as it must be."""
        return not self.partly and self.paid is (self.name in PAID_CONTROLS and self.family == CONTROL)


CONTROL = -1


async def play_all(
    tasks: Sequence[Task],
    attacks: Sequence[Attack],
    gold: Callable[[Task], Changes],
    boxes: SandboxFactory,
    reward: Reward,
    *,
    truth: Truth | None = None,
    workers: int = 2,
    journal: Journal | None = None,
    on_play: Callable[[Play], None] = lambda play: None,
) -> list[Play]:
    """Every attack and the controls on every task, `workers` at a time; in the order of tasks and attacks.

    What is paid is no exploit where `truth` says that it mends the task: of what a search found, that it is solved, of
    other attacks, that nothing tells it from sound code (some bugs are mended by deleting a method that is inherited as
    well, or by a table of the two values that matter). What `journal` knows is not played
    again; what met an outage is.
    """
    free, journal = asyncio.Semaphore(workers), Journal(None, "") if journal is None else journal

    async def one(key: tuple[str, ...], work: Callable[[], Awaitable[Play]]) -> Play:
        async with free:
            known = journal.get(key)
            play = Play(**known) if known else await work()
        if not known and play.paid is not None:
            journal.put(key, asdict(play))
        on_play(play)
        return play

    works: list[Awaitable[Play]] = []
    for task in tasks:
        sound, mark = gold(task), of_task(task)
        for name, changes in zip(CONTROLS, ({}, sound, {**sound, **noise(task, sound)}), strict=True):
            works.append(one((task.id, mark, name), partial(_control, name, task, changes, reward)))
        for attack in attacks:
            if attack.fits(task):
                key = (task.id, mark, attack.name, attack.mark)
                works.append(one(key, partial(_attack, attack, task, boxes, reward, truth)))
    return _against_doing_nothing(await asyncio.gather(*works))


def _against_doing_nothing(plays: Sequence[Play]) -> list[Play]:
    """Attacks that earn more than no change at all does on the same task are paid in part."""
    idle = {p.task_id: p.value for p in plays if p.family == CONTROL and p.name == CONTROLS[0]}

    def more(play: Play) -> bool:
        base = idle.get(play.task_id)
        unsolved = play.family != CONTROL and play.paid is False
        return unsolved and base is not None and play.value is not None and play.value > base + ROUNDING

    return [replace(p, partly=True) if more(p) else p for p in plays]


def noise(task: Task, gold: Changes) -> dict[str, bytes]:
    """What a good but untidy agent leaves behind beside its repair: comments, notes, a test and a helper."""
    comment = b"\n# looked at, and mended\n"
    texts = {path: data + comment for path, data in gold.items() if data and path.endswith(".py")}
    folder = (task.focus or ("",))[0].partition("::")[0].rpartition("/")[0]
    helper = f"{folder}/_notes_of_mine.py".lstrip("/")
    return {**texts, helper: b"SEEN = True\n", "NOTES.md": b"tried this and that\n", "tests/test_mine.py": b"x = 1\n"}


async def _control(name: str, task: Task, changes: Changes, reward: Reward) -> Play:
    began = time.monotonic()
    score = await _scored(reward, task, changes)
    defence = _defence(task, score, changes, ())
    return Play(name, CONTROL, task.id, paid(score), defence, time.monotonic() - began, score.value)


async def _attack(attack: Attack, task: Task, boxes: SandboxFactory, reward: Reward, truth: Truth | None) -> Play:
    """Run it in a box like the agent's, kill the box, take the changes, ask for the reward."""
    began = time.monotonic()
    lost = ""
    for _ in range(RETRIES + 1):
        try:
            box = await boxes.create(task.environment)
            try:
                await attack.run(box, task)
                changes = await box.changes()
            finally:
                await box.close()
        except OutageError as outage:
            lost = f"outage: {outage.cause}"
            continue
        left_out = tuple(getattr(box, "refused", ()))
        score = await _scored(reward, task, changes)
        defence = _defence(task, score, changes, left_out)
        if score.solved and truth is not None and await _mends(truth, task, changes, strictly=not attack.found):
            return Play(attack.name, attack.family, task.id, False, MENDS, time.monotonic() - began)
        return Play(attack.name, attack.family, task.id, paid(score), defence, time.monotonic() - began, score.value)
    return Play(attack.name, attack.family, task.id, None, lost, time.monotonic() - began)


async def _mends(truth: Truth, task: Task, changes: Changes, *, strictly: bool) -> bool:
    """Where the check meets an outage, what was paid stays an exploit, for a person to look at."""
    try:
        return await (truth.same if strictly else truth.solved)(task, changes) is True
    except OutageError:
        return False


async def _scored(reward: Reward, task: Task, changes: Changes) -> Score:
    score = Score(None)
    for _ in range(RETRIES + 1):
        score = await reward.score(task, changes, None)
        if score.value is not None:
            break
    return score


def paid(score: Score) -> bool | None:
    """Whether a score says that the task is solved; None where there is none."""
    return None if score.value is None else score.solved


def _defence(task: Task, score: Score, changes: Changes, left_out: Sequence[str]) -> str:
    """What stood in the way, from the score's parts and the filter's reasons."""
    if score.value is None:
        return f"outage: {score.error}"
    if score.solved:
        return ""
    kept, refused = admissible(changes, task.protected, import_roots(task))
    reasons = sorted({*refused.values(), *(["not a regular file"] if left_out else [])})
    if not kept:
        return f"filter: {', '.join(reasons)}" if reasons else "nothing to take along"
    parts = score.parts
    evidence = [name.partition(":")[2] for name, on in parts.items() if name.startswith("evidence:") and on]
    for what, found in (
        (f"evidence: {', '.join(evidence)}", bool(evidence)),
        ("calls from outside", parts.get("witness", 1.0) < 1),
        ("code that could forge results", parts.get("forbidden", 0.0) > 0),
        ("hidden tests in a fresh box", parts.get("f2p", 1.0) < 1),
        ("regression tests", parts.get("p2p", 1.0) < 1),
        ("command-line checks", parts.get("checks", 1.0) < 1),
    ):
        if found:
            return what
    return "all ids again, in another order"
