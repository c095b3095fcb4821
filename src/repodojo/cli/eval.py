"""`repodojo eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError
from repodojo.train import config as configuration


def evaluate(
    store: Annotated[Path, typer.Argument(help="Folder of a task set.")],
    model: Annotated[list[Path] | None, typer.Option("--model", help="Model folder; repeat to compare.")] = None,
    policy: Annotated[list[str] | None, typer.Option("--policy", help="Scripted reference; repeat.")] = None,
    base: Annotated[bool, typer.Option("--base", help="Measure the base that ships with the package.")] = False,
    split: Annotated[str, typer.Option(help="train, dev or held-out.")] = "held-out",
    tasks: Annotated[int, typer.Option(help="Tasks measured at most.")] = 200,
    attempts: Annotated[int, typer.Option(help="Episodes a task.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of sampling and of the intervals.")] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override, e.g. --set agent.max_turns=8.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the rows as one JSON object.")] = False,
) -> None:
    """Measure models and scripted references on tasks, with 95% intervals clustered by task.

    Example: repodojo eval tasks --base --model runs/mine/checkpoints/rl-00040 --policy tested-search
    """
    import asyncio

    from repodojo.evaluate.tables import plain, rich_table
    from repodojo.rollout.orders import MODEL
    from repodojo.train import measure, setup

    own = [f"tasks.store={json.dumps(str(store))}", f"eval.split={split}", f"eval.tasks={tasks}"]
    if (
        model and not base
    ):  # what fits a prompt, and what scripts count as tokens, is told by the model that is measured
        own.append(f"model.path={json.dumps(str(model[0]))}")
    config = configuration.load(None, [*own, f"eval.attempts={attempts}", f"run.seed={seed}", *(set_ or ())])
    subjects: list[tuple[str, Path, str]] = [("base", setup.base_path(), MODEL)] if base else []
    subjects += [(name, path, MODEL) for name, path in zip(_names(model or []), model or [], strict=True)]
    subjects += [(name, setup.model_path(config), name) for name in policy or ()]
    if not subjects:
        raise ConfigError("nothing to measure", way_out="give --base, --model FOLDER or --policy NAME")
    chosen = asyncio.run(setup.fitting(config, config.eval.split, config.eval.tasks))
    rows = []
    paid: dict[str, dict[str, float | None]] = {}
    formula = setup.formula(config)
    with Bars() as bars:
        for name, path, who in subjects:
            bars.phase(name, len(chosen) * attempts)
            with setup.open_pool(config, path) as pool:
                found = measure.episodes(
                    pool, chosen, attempts=attempts, seed=seed, policy=who, name=name, on_episode=bars.advance
                )
            rows.append(measure.row(name, found, chosen, store, seed))
            if not formula.plain:
                means = measure.part_means(found, formula.names())
                paid[rows[-1].name] = {"reward": measure.mean_reward(found), **means}
    if json_:
        typer.echo(json.dumps({row.name: {**plain(row), **paid.get(row.name, {})} for row in rows}))
    else:
        console = Console()
        console.print(rich_table(rows, width=console.width, title=f"{split}, {len(chosen)} tasks x {attempts}"))
        for row in rows:
            if row.calibration:
                paid.setdefault(row.name, {}).update(row.calibration)
        for name, values in paid.items():
            shown = ", ".join(f"{key} {value:.3f}" for key, value in values.items() if value is not None)
            console.print(f"{name}: {shown}", highlight=False)


def _names(paths: list[Path]) -> list[str]:
    """Folder names, or whole paths where two folders have the same name."""
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]
