"""`repodojo audit`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repodojo.audit.attack import Attack, from_file, shipped
from repodojo.audit.finds import beside, load
from repodojo.audit.journal import Journal, basis
from repodojo.audit.play import CONTROLS, Play, play_all
from repodojo.audit.summary import summarise
from repodojo.cli.audit_tables import print_mutants, print_verdict
from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError, TaskError
from repodojo.core.records import Task
from repodojo.tasks.store import TaskStore
from repodojo.train import config as configuration

if TYPE_CHECKING:
    from repodojo.audit.mutants import Weakness

SPLITS = ("train", "dev", "held-out")


def audit(
    store: Annotated[Path, typer.Argument(help="Folder of a task set.")],
    config: Annotated[Path | None, typer.Option(help="TOML file whose [reward] and [sandbox] are attacked.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override, e.g. --set reward.cap=0.2.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Tasks audited at most (0: all).")] = 0,
    split: Annotated[str, typer.Option(help="Only this split: train, dev or held-out.")] = "",
    task: Annotated[list[str] | None, typer.Option("--task", help="Only this task; repeat.")] = None,
    attack: Annotated[list[Path] | None, typer.Option("--attack", help="Play this executable only; repeat.")] = None,
    family: Annotated[list[int] | None, typer.Option("--family", help="Only this family's number; repeat.")] = None,
    mutants: Annotated[bool, typer.Option("--mutants", help="See which wrong patches the tests accept.")] = False,
    per_task: Annotated[int, typer.Option(min=1, help="With --mutants: wrong patches a task.")] = 10,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="With --mutants: share accepted that marks it.")] = 0.2,
    policy: Annotated[str, typer.Option(help="A model folder, or base: let it search for exploits.")] = "",
    attempts: Annotated[int, typer.Option(min=1, help="With --policy: episodes a task.")] = 8,
    steps: Annotated[int, typer.Option(min=0, help="With --policy: steps of RL that train the attacker first.")] = 0,
    finds: Annotated[Path | None, typer.Option(help="Folder of what searches found; default STORE.finds.")] = None,
    seed: Annotated[int, typer.Option(help="With --mutants and --policy: draws them.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Boxes that work side by side.")] = 2,
    journal: Annotated[Path | None, typer.Option(help="File of verdicts: go on from it, and keep them in it.")] = None,
    unisolated: Annotated[bool, typer.Option(help="Where the machine offers no isolation, run without.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Attack the reward of a task set: every known way of being paid without mending anything, and the controls.

    The reward is that of --config and --set, as `train` takes them; without them, the quickstart's. Exit code 1 where
    an attack is paid (if only more than doing nothing is), a gold patch is not, no change at all is, or an outage left
    no verdict; with --mutants, where a task is marked. An --attack is any executable: it starts in the repository's
    root inside an agent's box, with the issue on its standard input. With --policy a model looks for exploits, paid
    for being paid without solving; what it finds is saved in --finds, and replayed by every audit from then on.

    Example: repodojo audit tasks --limit 5 --set 'reward.partial={hidden=0.4}' --json | jq .exploits

    A long one that may be stopped: repodojo audit tasks --journal audit.jsonl, and the same again.

    Train an attacker for 20 steps, and keep what it finds: repodojo audit tasks --policy base --steps 20
    """
    settings = _settings(store, config, set_ or [], unisolated, finds)
    tasks = _tasks(TaskStore(store), split, task or [], limit)
    if sum(map(bool, (mutants, policy, attack, family))) > 1:
        raise ConfigError("--mutants, --policy, --attack and --family exclude each other", way_out="give one of them")
    if steps and (not policy or task):
        raise ConfigError("--steps trains the attacker of --policy on a split", way_out="give --policy, and no --task")
    found: dict[str, Any] = {}
    with Bars() as bars:
        if mutants:
            weak = asyncio.run(_mutants(settings, tasks, Mutants(per_task, threshold, seed), workers, journal, bars))
        else:
            if policy:
                from repodojo.cli.audit_search import Search, search

                found = search(settings, tasks, policy, Search(attempts, steps, split, limit, seed), bars)
            attacks = _attacks(attack or [], family or [], policy, Path(settings.attacker.finds))
            verdict = summarise(asyncio.run(_play(settings, tasks, attacks, workers, journal, bars)))
    if mutants:
        print_mutants(weak, threshold, as_json=json_)
    else:
        print_verdict(verdict, {a.name: a.tries for a in attacks}, len(tasks), as_json=json_, found=found)
    if any(weakness.marked for weakness in weak) if mutants else not verdict.clean:
        raise typer.Exit(1)


def _settings(
    store: Path, path: Path | None, given: Sequence[str], unisolated: bool, finds: Path | None
) -> configuration.Config:
    """The configuration whose reward is attacked, with the folder of finds."""
    own = [f"tasks.store={json.dumps(str(store))}"]
    if unisolated:
        own.append("sandbox.allow_unisolated=true")
    default = Path(str(files("repodojo") / "assets" / "quickstart.toml"))
    loaded = configuration.load(path or default, [*own, *given])
    folder = str(finds or loaded.attacker.finds or beside(store))
    return loaded.model_copy(update={"attacker": loaded.attacker.model_copy(update={"finds": folder})})


def _tasks(store: TaskStore, split: str, ids: Sequence[str], limit: int) -> list[Task]:
    if split and split not in SPLITS:
        raise ConfigError(f"there is no split {split!r}", way_out=f"use one of {', '.join(SPLITS)}")
    found = [store.get(name) for name in ids] if ids else store.tasks()
    found = [task for task in found if not split or task.source.split == split]
    if not found:
        raise TaskError(f"{store.path} has no such tasks", way_out=f"see: repodojo tasks list {store.path}")
    found = sorted(found, key=lambda task: task.id)  # ids are digests: what is done first is a sample by chance
    return found[:limit] if limit else found


def _attacks(files: Sequence[Path], families: Sequence[int], policy: str, finds: Path) -> tuple[Attack, ...]:
    """What is named; after a search what searches found, and where nothing is named that beside all that is shipped."""
    if policy:
        return load(finds)
    if files:
        return tuple(from_file(path) for path in files)
    known = {attack.family for attack in shipped()}
    if unknown := sorted(set(families) - known):
        raise ConfigError(f"there is no family {unknown[0]}", way_out=f"use {min(known)} to {max(known)}")
    if families:
        return tuple(attack for attack in shipped() if attack.family in families)
    return (*shipped(), *load(finds))


async def _play(
    settings: configuration.Config,
    tasks: Sequence[Task],
    attacks: Sequence[Attack],
    workers: int,
    path: Path | None,
    bars: Bars,
) -> list[Play]:
    from repodojo.rewards.attacker import HeldOut
    from repodojo.train import setup

    boxes = setup.open_boxes(settings)
    bars.phase("attacks", sum(len(CONTROLS) + sum(attack.fits(task) for attack in attacks) for task in tasks))

    def tell(play: Play) -> None:
        bars.advance(note="" if play.good else f"{play.name}: {play.defence or 'paid'}")

    gold = TaskStore(Path(settings.tasks.store)).gold_changes
    reward, truth = setup.reward(settings, boxes), HeldOut(boxes)
    journal = Journal(path, basis("attacks", settings.reward, settings.sandbox))
    try:
        return await play_all(
            tasks, attacks, gold, boxes, reward, truth=truth, workers=workers, journal=journal, on_play=tell
        )
    finally:
        await boxes.close()
        journal.close()


@dataclass(frozen=True)
class Mutants:
    """How many wrong patches a task are made, the share accepted that marks one, and what draws them."""

    per_task: int
    threshold: float
    seed: int


async def _mutants(
    settings: configuration.Config,
    tasks: Sequence[Task],
    how: Mutants,
    workers: int,
    path: Path | None,
    bars: Bars,
) -> list[Weakness]:
    from repodojo.audit.mutants import weaknesses
    from repodojo.rewards.grade import TestReward
    from repodojo.train import setup

    boxes = setup.open_boxes(settings)
    journal = Journal(path, basis("mutants", settings.sandbox, how.per_task, how.seed))
    bars.phase("tasks", len(tasks))
    try:
        return await weaknesses(
            tasks,
            TaskStore(Path(settings.tasks.store)).gold_changes,
            TestReward(boxes),
            per_task=how.per_task,
            threshold=how.threshold,
            seed=how.seed,
            workers=workers,
            journal=journal,
            on_task=bars.advance,
        )
    finally:
        await boxes.close()
        journal.close()
