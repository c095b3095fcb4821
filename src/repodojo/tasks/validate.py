"""Checks a task set as it is: the solution is paid, doing nothing is not, and nothing gives the answer away."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from repodojo.core.editing import ANSWER, expected, is_edit, unchanged
from repodojo.core.errors import OutageError, SandboxError, TaskError
from repodojo.core.protocols import SandboxFactory
from repodojo.core.records import Score, Task
from repodojo.rewards.edem import EditReward
from repodojo.rewards.graders.graded import GradedReward
from repodojo.tasks import leaks, manifest
from repodojo.tasks.checked import Checked
from repodojo.tasks.environment import LINKED
from repodojo.tasks.gold import gold_changes
from repodojo.tasks.store import TaskStore


@dataclass(frozen=True)
class Verdict:
    """What was seen of a task: rewards (None: not run, `reason` says why), and its leaks."""

    id: str
    gold: float | None
    noop: float | None
    leaks: tuple[str, ...] = ()
    reason: str = ""

    @property
    def sound(self) -> bool:
        return self.gold == 1.0 and self.noop == 0.0 and not self.leaks

    @property
    def fate(self) -> str:
        """One word for the table."""
        if self.gold is None or self.noop is None:
            return "not run" if not self.leaks else "leaks"
        return "sound" if self.sound else "leaks" if self.leaks else "gold unpaid" if self.gold < 1 else "no-op paid"


async def validate(
    store: TaskStore,
    factory: SandboxFactory,
    *,
    limit: int = 0,
    seed: int = 0,
    workers: int = 2,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> list[Verdict]:
    """Check all tasks, or `limit` drawn by `seed`. The figures go into the manifest where all were checked.

    What an earlier call with the same arguments saw before it was stopped is not looked at again.
    """
    intact(store)
    tasks = store.tasks()
    if limit and limit < len(tasks):
        tasks = random.Random(seed).sample(tasks, limit)
    checked = Checked(store.path, f"{store.manifest.get('sha256', '')} {limit} {seed}")
    reward, queue, verdicts = GradedReward(factory), iter(tasks), list[Verdict]()
    whole = functools.cache(tree_intact)

    async def work() -> None:
        for task in queue:
            if known := checked.known.get(task.id):
                verdicts.append(Verdict(**{**known, "leaks": tuple(known["leaks"])}))
            else:
                verdicts.append(await _one(store, factory, reward, task, whole))
                if verdicts[-1].gold is not None:  # an outage is no verdict
                    checked.keep(asdict(verdicts[-1]))
            tell(len(verdicts), len(tasks))

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
    checked.end()
    if len(tasks) == len(store.tasks()):
        store.note(validation=figures(store, verdicts))
    return verdicts


def figures(store: TaskStore, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What the manifest keeps: counts by fate, and every task that is not sound with the reason."""
    fates = Counter(verdict.fate for verdict in verdicts)
    bad = {v.id: [v.fate, v.reason, *v.leaks] for v in sorted(verdicts, key=lambda v: v.id) if not v.sound}
    return {"of": store.manifest.get("sha256", ""), "tasks": len(verdicts), "fates": dict(sorted(fates.items()))} | {
        "not_sound": {key: [word for word in words if word] for key, words in bad.items()}
    }


def intact(store: TaskStore) -> None:
    """TaskError where the tasks are not those that the manifest counted (a set from before has no hash)."""
    wanted = store.manifest.get("sha256")
    path = manifest.file_of(store.path, store.manifest)
    if wanted and manifest.hashed(path, store.manifest["bytes"]).hexdigest() != wanted:
        raise TaskError(f"{path} was changed since it was written", way_out="copy the set anew, or make it again")


def tree_intact(tree: Path) -> bool:
    """Whether a tree holds what its name says (byte code left out)."""
    digest = hashlib.sha256(LINKED if (tree / "node_modules").is_symlink() else b"")
    files = {p.relative_to(tree).as_posix(): p for p in tree.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    for relative in sorted(files):
        data = files[relative].read_bytes()
        digest.update(f"{relative}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:16] == tree.name


async def _one(
    store: TaskStore, factory: SandboxFactory, reward: GradedReward, task: Task, whole: Callable[[Path], bool]
) -> Verdict:
    """Rewards and leaks of one task; what cannot be run here is only read."""
    found = list(leaks.in_instruction(task))
    if reason := task.labels.get("unsolvable", ""):
        return Verdict(task.id, None, None, tuple(found), reason)
    if is_edit(task):
        return await _edit(task, found)
    try:
        tree = store.path / "trees" / str(task.environment.recipe.get("tree", ""))
        if tree.name != "trees" and not await asyncio.to_thread(whole, tree):
            found.append(f"trees/{tree.name} is not what its name says")
        gold = await asyncio.to_thread(gold_changes, store.path, task)
        found += await asyncio.to_thread(lambda: list(leaks.in_tree(store.path, task, gold)))
        found += leaks.in_box(await _scan(factory, task))
        good = await reward.score(task, gold, None)
        idle = await reward.score(task, {}, None)
    except (TaskError, OutageError) as error:
        return Verdict(task.id, None, None, tuple(found), error.cause)
    return Verdict(task.id, good.value, idle.value, tuple(found), good.error or idle.error or _unpaid(good))


def _unpaid(good: Score) -> str:
    """Why a solution was not paid, in the grader's words; "" where it was."""
    if good.value is None or good.value >= 1.0:
        return ""
    if good.parts.get("claimed"):
        how = "adds names that could forge results" if good.parts.get("forbidden") else "answers otherwise outside"
        return f"its tests pass, but it {how}"
    ended = [part.partition(":")[2] for part, on in good.parts.items() if part.startswith("evidence:") and on]
    what = f"{len(good.failed)} tests do not pass, e.g. {good.failed[0]}" if good.failed else ""
    return "; ".join(filter(None, (what, *(f"a run ended by {name!r}" for name in ended))))


async def _edit(task: Task, found: Sequence[str]) -> Verdict:
    """A code edit: its answer is paid in full, and the range as it was is not that answer."""
    reward = EditReward()
    good = await reward.score(task, {ANSWER: expected(task).encode()}, None)
    idle = await reward.score(task, {ANSWER: unchanged(task).encode()}, None)
    return Verdict(task.id, good.value, idle.parts["em"], tuple(found))


async def _scan(factory: SandboxFactory, task: Task) -> dict[str, list[str]]:
    """What a box of the task says to the scan; SandboxError where it says nothing."""
    changed = [edit["path"] for edit in task.environment.recipe.get("edits", ()) if edit["path"].endswith(".py")]
    box = await factory.create(task.environment)
    try:
        result = await box.exec(["python", "-c", leaks.SCAN, json.dumps(changed)], seconds=30.0)
    finally:
        await box.close()
    try:
        said: dict[str, list[str]] = json.loads(result.output)
        return said
    except ValueError:
        raise SandboxError(f"the box could not be scanned: {result.output[-200:]!r}") from None


def as_row(verdict: Verdict) -> dict[str, Any]:
    """For --json."""
    return {**asdict(verdict), "fate": verdict.fate}
