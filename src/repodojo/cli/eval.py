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
    ablate: Annotated[str, typer.Option(help='"context": measure what each part of it is worth, too.')] = "",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override, e.g. --set agent.max_turns=8.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the rows as one JSON object.")] = False,
) -> None:
    """Measure models and scripted references on tasks, with 95% intervals clustered by task.

    Example: repodojo eval tasks --base --model runs/mine/checkpoints/rl-00040 --policy tested-search

    With --ablate context each is measured with all of its context and without each part of it (the retrieved code,
    and what agent.sources names), on the same tasks and seeds; what a part is worth is the paired difference.
    """
    import asyncio
    from dataclasses import asdict

    from repodojo.evaluate.summary import Difference, paired_difference
    from repodojo.evaluate.tables import rich_table
    from repodojo.rollout.orders import MODEL
    from repodojo.train import ablation, measure, setup

    overrides = [f"tasks.store={json.dumps(str(store))}", f"eval.split={split}", f"eval.tasks={tasks}"]
    if (
        model and not base
    ):  # what fits a prompt, and what scripts count as tokens, is told by the model that is measured
        overrides.append(f"model.path={json.dumps(str(model[0]))}")
    config = configuration.load(None, [*overrides, f"eval.attempts={attempts}", f"run.seed={seed}", *(set_ or ())])
    subjects: list[tuple[str, Path, str]] = [("base", setup.base_path(), MODEL)] if base else []
    subjects += [(name, path, MODEL) for name, path in zip(_names(model or []), model or [], strict=True)]
    subjects += [(name, setup.model_path(config), name) for name in policy or ()]
    if not subjects:
        raise ConfigError("nothing to measure", way_out="give --base, --model FOLDER or --policy NAME")
    if ablate not in ("", "context"):
        raise ConfigError(f"--ablate {ablate}: unknown", way_out="the one there is: --ablate context")
    chosen = asyncio.run(setup.fitting(config, config.eval.split, config.eval.tasks))
    variants = ablation.variants(config) if ablate else {ablation.ALL: config}
    rows = []
    worth: list[Difference] = []
    paid: dict[str, dict[str, float | None]] = {}
    formula = setup.formula(config)
    with Bars() as bars:
        for name, path, who in subjects:
            for variant, varied in variants.items():
                label = name if variant == ablation.ALL else f"{name} {variant}"
                bars.phase(label, len(chosen) * attempts)
                with setup.open_pool(varied, path) as pool:
                    found = measure.episodes(
                        pool, chosen, attempts=attempts, seed=seed, policy=who, name=name, on_episode=bars.advance
                    )
                rows.append(measure.row(label, found, chosen, store, seed))
                if not formula.plain:
                    means = measure.part_means(found, formula.names())
                    paid[rows[-1].name] = {"reward": measure.mean_reward(found), **means}
            own = rows[-len(variants) :]
            worth += [paired_difference(own[0], other, seed=seed) for other in own[1:]]
    if json_:
        shown_rows = {row.name: {**asdict(row), **paid.get(row.name, {})} for row in rows}
        typer.echo(json.dumps({**shown_rows, **({"ablation": [asdict(d) for d in worth]} if ablate else {})}))
    else:
        console = Console()
        console.print(rich_table(rows, width=console.width, title=f"{split}, {len(chosen)} tasks x {attempts}"))
        for name, values in paid.items():
            shown = ", ".join(f"{key} {value:.3f}" for key, value in values.items() if value is not None)
            console.print(f"{name}: {shown}", highlight=False)
        for d in worth:
            text = (
                f"{d.worse}: the part is worth {d.value:+.3f} pass@1 [{d.ci[0]:+.3f}, {d.ci[1]:+.3f}], {d.tasks} tasks"
            )
            console.print(text, highlight=False)


def _names(paths: list[Path]) -> list[str]:
    """Folder names, or whole paths where two folders have the same name."""
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]
