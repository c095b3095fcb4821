"""`repodojo tasks refresh`: what a set has outgrown goes, and its makers are asked for more."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from repodojo.cli.progress import Bars
from repodojo.cli.tasks_words import AsJson, Store
from repodojo.core.errors import ConfigError, RepodojoError
from repodojo.core.protocols import SandboxFactory
from repodojo.core.records import Task
from repodojo.tasks import refresh as refreshing
from repodojo.tasks.difficulty import Estimate
from repodojo.tasks.retiring import retire
from repodojo.tasks.rollouts import Rollouts
from repodojo.tasks.store import TaskStore


@dataclass(frozen=True)
class How:
    """How makers work here."""

    seed: int
    workers: int
    unisolated: bool

    def factory(self, path: Path) -> SandboxFactory:
        from repodojo.sandbox.factory import LocalFactory

        return LocalFactory(path, allow_unisolated=self.unisolated)


def refresh(
    store: Store,
    run: Annotated[
        list[Path] | None, typer.Option(help="record this run first, and let it alone decide; repeat")
    ] = None,
    too_easy: Annotated[float, typer.Option(min=0.01, max=1, help="a task goes when solved in this share or more")] = 2
    / 3,
    tries: Annotated[int, typer.Option(min=1, help="attempts after which that counts")] = 8,
    never: Annotated[int, typer.Option(min=1, help="attempts after which a task never solved goes")] = 24,
    recent: Annotated[int, typer.Option(min=0, help="newest attempts of a task that count (0: all)")] = 0,
    wanted: Annotated[str, typer.Option(help="solve rate that new tasks should have, LOW-HIGH")] = "0.05-0.65",
    more: Annotated[int, typer.Option(min=-1, help="new tasks in all (-1: as many as went)")] = -1,
    seed: Annotated[int, typer.Option(help="draws the new tasks")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="boxes that work side by side")] = 2,
    unisolated: Annotated[bool, typer.Option(help="where the machine offers no isolation, run without")] = False,
    dry_run: Annotated[bool, typer.Option(help="only say what would go")] = False,
    as_json: AsJson = False,
) -> None:
    """Retire tasks of the train split that are solved too often or never, and make new ones in their place.

    Example: repodojo tasks refresh my-tasks --run runs/mine --tries 8
    """
    low, high = _band(wanted)
    found = [rollouts for path in run or () for rollouts in _recorded(store, path)]
    rule = refreshing.Rule(too_easy, tries, never, recent)
    tasks = TaskStore(store)
    look = refreshing.look(tasks, rule, found or None)
    lines: list[dict[str, Any]] = []
    if not dry_run:
        retire(tasks, look.going)
        counts = look.packages if more < 0 else Counter(refreshing.spread(tasks, more))
        accept = look.accepts(low, high, refreshing.known_ids(store))
        lines = [_made(store, ask, accept, How(seed, workers, unisolated)) for ask in refreshing.asks(tasks, counts)]
    _report(look, lines, as_json, dry_run)
    if any(line["error"] for line in lines):
        raise typer.Exit(2)


def as_row(estimate: Estimate) -> dict[str, Any]:
    """What `tasks list --json` says of a task's difficulty."""
    found = {"difficulty": round(estimate.difficulty, 3), "spread": round(estimate.spread, 3)}
    return {**found, "solved": estimate.tally.solved, "attempts": estimate.tally.attempts}


def _band(text: str) -> tuple[float, float]:
    low, dash, high = text.partition("-")
    try:
        if dash and 0 <= float(low) < float(high) <= 1:
            return float(low), float(high)
    except ValueError:
        pass
    raise ConfigError(f"{text!r} is no span of solve rates", way_out="e.g. --wanted 0.05-0.65")


def _recorded(store: Path, path: Path) -> list[Rollouts]:
    """The rollouts of a run, written into its set; ConfigError where it was trained on another."""
    from repodojo.train.rollouts import record
    from repodojo.train.rundir import RunDir

    with RunDir.read(path) as run:
        if Path(run.config.tasks.store).resolve() != store.resolve():
            raise ConfigError(f"{path} played another task set", way_out=f"refresh {run.config.tasks.store}")
        if not run.state.done:
            typer.secho(f"warning: {path} is not done, and cannot go on with another set", fg="yellow", err=True)
        return record(run)


def _made(store: Path, ask: refreshing.Ask, accept: Callable[[Task], bool], how: How) -> dict[str, Any]:
    """Let a package's maker make tasks; its line of the report. What fails is said there and stops no other."""
    line: dict[str, Any] = {"package": ask.package, "maker": ask.maker, "wanted": ask.count, "added": 0, "error": ""}
    makers = {"bugs": _bugs, "features": _bugs, "history": _history}
    try:
        if ask.maker:
            with Bars() as bars:
                line["added"] = makers[ask.maker](store, ask, accept, how, bars)
    except RepodojoError as error:
        line["error"] = str(error)
    return line


def _bugs(store: Path, ask: refreshing.Ask, accept: Callable[[Task], bool], how: How, bars: Bars) -> int:
    """Other mutants of the package, or other definitions taken out of it."""
    from repodojo.tasks.make import Options
    from repodojo.tasks.session import make_all

    kinds, longest = tuple(ask.entry["kinds"]), int(ask.entry.get("max_lines", 30))
    asked = ask.maker == "features"
    options = Options("train", ask.count, how.seed, longest, kinds, workers=how.workers, features=asked)
    [line] = asyncio.run(make_all([ask.address], store, options, how.factory, bars.making, accept))
    if line.error and not line.made.funnel["tasks not wanted"]:
        raise line.error
    return line.added


def _history(store: Path, ask: refreshing.Ask, accept: Callable[[Task], bool], how: How, bars: Bars) -> int:
    """Commits that were not tried yet; there are few, so all that are sound are taken, whatever their difficulty."""
    from repodojo.tasks.history.make import Options, make
    from repodojo.tasks.history.walk import Filters

    settings, before = ask.entry["history"], int(ask.entry.get("tasks", 0))
    retired = TaskStore(store).manifest.get("retired", {}).values()  # these count as made, for the journal has them
    limit = before + sum(why["package"] == ask.package for why in retired) + ask.count
    options = Options(
        "train", limit, sure=settings["sure"], workers=how.workers, filters=Filters(**settings["filters"]),
        language=settings.get("language", ""),
    )  # fmt: skip
    factory = how.factory(store)

    async def run() -> None:
        try:
            await make(ask.address, TaskStore(store), options, factory, {}, bars.making(ask.address))
        finally:
            await factory.close()

    asyncio.run(run())
    return int(TaskStore(store).manifest["packages"][ask.package].get("tasks", 0)) - before


def _report(look: refreshing.Look, lines: list[dict[str, Any]], as_json: bool, dry_run: bool) -> None:
    tried = [e for e in look.estimates.values() if e.tally.attempts]
    if as_json:
        model = {"tasks": look.model.tasks, "attempts": look.model.attempts, "strength": look.model.strength}
        made = {"tried": len(tried), "retired": look.going, "made": lines, "dry_run": dry_run}
        print(json.dumps({**made, "model": {**model, "weights": dict(look.model.weights)}}))
        return
    reasons = Counter(why["reason"] for why in look.going.values())
    word = "would go" if dry_run else "went"
    print(f"{len(look.estimates)} tasks, {len(tried)} of them tried; {len(look.going)} {word}")
    for reason, count in sorted(reasons.items()):
        print(f"  {count:6d} {reason}")
    if lines:
        table = Table("package", "maker", "wanted", "added", "")
        for line in lines:
            why = line["error"] or ("" if line["maker"] else "no maker knows it")
            table.add_row(line["package"], line["maker"], str(line["wanted"]), str(line["added"]), why)
        Console().print(table)
