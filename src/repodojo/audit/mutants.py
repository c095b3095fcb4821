"""Weak tests: which wrong patches a task's tests accept.

A wrong patch is the sound code with one bug put into the function at hand. Some such mutants behave as sound code does
and are not wrong at all, so each that the tests accept is also asked the calls from outside: what answers one of them
otherwise is surely wrong. Calls that tell are offered as tests, where they take no more than literals (see `offers`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from repodojo.audit.journal import Journal, of_task
from repodojo.audit.offers import offers
from repodojo.core.records import Score, Task
from repodojo.rewards.grade import TestReward
from repodojo.rewards.literal import as_example
from repodojo.tasks.discover import functions
from repodojo.tasks.mutate import mutants

Changes = Mapping[str, bytes | None]
OFFERED = 3


@dataclass(frozen=True)
class Weakness:
    """`tried` patches, of which the tests accepted `accepted`; `wrong` of these are surely wrong (all of them, where no
    call from outside can be asked), and `paid` were paid in the end. `offered` are asserts that hold in sound code and
    fail in wrong patches, tried on both; together they catch `caught` of the wrong ones."""

    task_id: str
    tried: int
    accepted: int
    wrong: int
    paid: int
    threshold: float
    offered: tuple[str, ...] = ()
    caught: int = 0

    @property
    def share(self) -> float:
        """Of the patches tried, how many the tests accept though they are wrong; 0 where none could be made."""
        return self.wrong / self.tried if self.tried else 0.0

    @property
    def marked(self) -> bool:
        """Whether that is above the threshold."""
        return self.share > self.threshold


async def weaknesses(
    tasks: Sequence[Task],
    gold: Callable[[Task], Mapping[str, bytes]],
    reward: TestReward,
    *,
    per_task: int = 10,
    threshold: float = 0.2,
    seed: int = 0,
    workers: int = 2,
    journal: Journal | None = None,
    on_task: Callable[[], None] = lambda: None,
) -> list[Weakness]:
    """One a task, in the order given. What met an outage counts as not tried. `journal` knows finished tasks."""
    free, journal = asyncio.Semaphore(workers), Journal(None, "") if journal is None else journal

    async def one(task: Task) -> Weakness:
        key = (task.id, of_task(task))
        async with free:
            known = journal.get(key)
            if known:
                found = Weakness(**{**known, "offered": tuple(known["offered"]), "threshold": threshold})
            else:
                patches = wrong_patches(task, gold(task), per_task, seed)
                found = await _of(task, patches, reward, threshold)
                if found.tried == len(patches):  # else an outage: next time, perhaps, there is none
                    journal.put(key, asdict(found))
        on_task()
        return found

    return list(await asyncio.gather(*map(one, tasks)))


def wrong_patches(task: Task, gold: Mapping[str, bytes], count: int, seed: int) -> list[dict[str, bytes | None]]:
    """Mutants of the gold in the function that the task is about, the task's own bug left out."""
    path, _, qualname = (task.focus[0] if task.focus else "").partition("::")
    if path not in gold:
        return []
    source = gold[path].decode()
    function = next((f for f in functions(path, source) if f.qualname == qualname), None)
    if function is None:
        return []
    bugs = {edit["text"] for edit in task.environment.recipe.get("edits", ()) if edit["path"] == path}
    starts = {edit["start"] for edit in task.environment.recipe.get("edits", ()) if edit["path"] == path}
    found = mutants(source, function, random.Random(f"{seed}:{task.id}"))
    others = [m for m in found if not (m.edit.start in starts and m.edit.text in bugs)]
    return [{**gold, path: mutant.edit.apply(source).encode()} for mutant in others[:count]]


async def _of(task: Task, patches: Sequence[Changes], reward: TestReward, threshold: float) -> Weakness:
    tried = accepted = paid = 0
    wrong: list[tuple[Changes, list[str]]] = []
    for patch in patches:
        score = await reward.score(task, patch, None)
        if score.value is None:
            continue
        tried += 1
        if not accepts(score):
            continue
        accepted += 1
        told, lines = await _told(task, patch, reward)
        if told:
            wrong.append((patch, lines))
            paid += score.value >= 1.0
    offered, caught = await offers(reward.factory, task, wrong, OFFERED)
    return Weakness(task.id, tried, accepted, len(wrong), paid, threshold, offered, caught)


def accepts(score: Score) -> bool:
    """Whether the task's own tests all passed, whatever was found out from outside."""
    return score.value == 1.0 or score.parts.get("claimed") == 1.0


async def _told(task: Task, patch: Changes, reward: TestReward) -> tuple[bool, list[str]]:
    """Whether calls from outside tell the patch from sound code (or cannot be asked), and those calls as examples."""
    cases = reward.witness.remembered(task)
    if not cases:
        return True, []
    right = await reward.witness.right(task, patch, cases)
    name = task.focus[0].rpartition("::")[2]
    lines = [as_example(name, c.call, c.wanted) for c, ok in zip(cases, right, strict=True) if not ok]
    return not all(right), [line for line in lines if line]
