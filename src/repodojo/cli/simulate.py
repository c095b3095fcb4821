"""`repodojo simulate`: the scheduler on a virtual clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError

if TYPE_CHECKING:
    from repodojo.rollout.simulation.outcome import Outcome
    from repodojo.rollout.simulation.techniques import Size, Techniques
    from repodojo.rollout.simulation.workload import Workload
    from repodojo.train.config import Config


def simulate(
    recipe: Annotated[str | None, typer.Argument(help="TOML file of settings, or the name of a recipe.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override, e.g. --set rollout.redundancy=2.")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="Recorded run that latencies are taken from.")] = None,
    figures: Annotated[Path | None, typer.Option(help="TOML file of latencies; default: published.toml.")] = None,
    predict: Annotated[Path | None, typer.Option(help="Recorded run whose wall-clock is foretold.")] = None,
    environments: Annotated[int | None, typer.Option(help="Episodes that play at once.")] = None,
    engines: Annotated[int | None, typer.Option(help="Accelerators, the learner's among them.")] = None,
    groups: Annotated[int | None, typer.Option(help="Groups a step; default: as many as play at once.")] = None,
    group_size: Annotated[int | None, typer.Option(help="Episodes a group.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps simulated.")] = None,
    redundancy: Annotated[int, typer.Option(min=0, help="Redundant members where that technique is on.")] = 2,
    staleness: Annotated[int, typer.Option(min=1, help="Versions behind where that technique is on.")] = 2,
    learner_share: Annotated[
        float | None, typer.Option(help="Accelerators that learn where steps overlap; default: what trials find best.")
    ] = None,
    policies: Annotated[str, typer.Option(help="Only these, comma-separated; default: all of them.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of what is drawn.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what a pipeline would do: throughput, utilisation, staleness and waiting, technique by technique.

    Without a configuration: 1,000 environments on 100 engines. Deadlines are set where 99% of episodes are over.

    Example: repodojo simulate --environments 10000 --engines 1000 --policies synchronous,all
    """
    from repodojo.rollout.simulation.techniques import Size
    from repodojo.train.simulation import size_of

    if predict is not None:
        _predict(predict, source, json_)
        return
    config = _config(recipe, set_ or [])
    size = size_of(config) if config is not None else Size(1000, 100, groups=125, steps=3)
    given = {"environments": environments, "engines": engines, "group_size": group_size, "steps": steps}
    size = replace(size, **{name: value for name, value in given.items() if value is not None})
    if groups is not None or (config is None and (environments, group_size) != (None, None)):
        size = replace(size, groups=groups or max(1, size.environments // size.group_size))
    work = _workload(source, figures, seed)
    chosen = _chosen(_techniques(config, work, size, (redundancy, staleness, learner_share)), policies)
    found = _run(work, chosen, size, quiet=json_)
    if json_:
        rows = {name: outcome.as_json() for name, outcome in found.items()}
        typer.echo(
            json.dumps({"size": asdict(size), "source": str(source or figures or "published"), "policies": rows})
        )
    else:
        _print(found, size)


def _config(recipe: str | None, overrides: list[str]) -> Config | None:
    from repodojo.train import config as configuration

    if recipe is None and not overrides:
        return None
    path = Path(recipe) if recipe and (recipe.endswith(".toml") or Path(recipe).exists()) else None
    named = [f"rl.recipe={recipe}"] if recipe and path is None else []
    return configuration.load(path, [*named, *overrides])


def _workload(source: Path | None, figures: Path | None, seed: int) -> Workload:
    from repodojo.rollout.simulation.workload import Drawn, Figures
    from repodojo.train.recorded import recorded
    from repodojo.train.rundir import RunDir

    if source is not None and figures is not None:
        raise ConfigError("latencies come from one source", way_out="give --from or --figures, not both")
    if source is None:
        return Drawn(Figures.read(figures), seed)
    with RunDir.read(source) as run:
        return recorded(run)


def _techniques(
    config: Config | None, work: Workload, size: Size, extra: tuple[int, int, float | None]
) -> dict[str, Techniques]:
    from repodojo.rollout.simulation.techniques import alone
    from repodojo.rollout.simulation.tuning import best_share
    from repodojo.train.simulation import techniques_of, usual_deadline

    redundancy, staleness, share = extra
    deadline = usual_deadline(work, batch=max(1, size.environments // size.engines))
    if share is None:
        share = best_share(work, alone(deadline, redundancy, staleness, 0.0)["all"], size)
    found = alone(deadline, redundancy, staleness, share)
    if size.engines == 1:  # one cannot both sample and learn at a time
        found = {name: techniques for name, techniques in found.items() if not techniques.staleness}
    return found if config is None else {"configured": techniques_of(config), **found}


def _chosen(known: Mapping[str, Techniques], names: str) -> Mapping[str, Techniques]:
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise ConfigError(f"no policy {name!r}", way_out=f"one of {', '.join(known)}")
    return {name: known[name] for name in wanted} if wanted else known


def _run(work: Workload, chosen: Mapping[str, Techniques], size: Size, *, quiet: bool) -> dict[str, Outcome]:
    from rich.console import Console

    from repodojo.rollout.simulation.compare import compare

    with Bars(Console(stderr=True, quiet=quiet)) as bars:
        bars.phase("policies", len(chosen))
        return compare(work, chosen, size, on_policy=lambda name: bars.advance(note=name))


def _print(found: Mapping[str, Outcome], size: Size) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    base = found.get("synchronous")
    title = f"{size.environments} environments, {size.engines} engines, {size.groups} x {size.group_size} a step"
    rates = Table(title=f"{title}, {size.steps} steps", box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    waits = Table(title="seconds that an episode waits", box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    kinds = list(next(iter(found.values())).waiting)
    for table, names in ((rates, ("episodes/h", "gain", "engines", "learner", "stale", "length")), (waits, kinds)):
        table.add_column("policy", no_wrap=True)
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
    for name, outcome in found.items():
        gain = f"{outcome.episodes_per_hour / base.episodes_per_hour:.1f}x" if base else ""
        busy = (f"{outcome.engines_busy:.0%}", f"{outcome.learner_busy:.0%}")
        stale = f"{outcome.staleness:.1f}/{outcome.worst_staleness}"
        rates.add_row(name, f"{outcome.episodes_per_hour:.0f}", gain, *busy, stale, f"{outcome.length_bias:.2f}")
        waits.add_row(name, *(f"{outcome.waiting[kind]:.1f}" for kind in kinds))
    console = Console()
    console.print(rates, waits)
    console.print(
        "engines, learner: share of the time in use; stale: mean/worst in versions; length: turns used over asked"
    )


def _predict(path: Path, source: Path | None, json_: bool) -> None:
    from contextlib import ExitStack

    from repodojo.train.rundir import RunDir
    from repodojo.train.simulation import foretell

    with ExitStack() as stack:
        run = stack.enter_context(RunDir.read(path))
        other = stack.enter_context(RunDir.read(source)) if source else None
        found = foretell(run, other)
    if json_:
        typer.echo(
            json.dumps({"run": str(path), "costs_of": str(source or path), **asdict(found), "error": found.error})
        )
    else:
        said = f"{found.predicted:.1f} s foretold, {found.recorded:.1f} s recorded"
        typer.echo(f"{path}: {found.steps} steps, {said} ({found.error:+.1%})")
