"""`repodojo eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from repodojo.cli.progress import Bars
from repodojo.core.editing import is_edit
from repodojo.core.errors import ConfigError
from repodojo.core.records import Trajectory
from repodojo.train import config as configuration


def evaluate(
    context: typer.Context,
    store: Annotated[Path | None, typer.Argument(help="Folder of a task set; none with --commands.")] = None,
    model: Annotated[list[Path] | None, typer.Option("--model", help="Model folder; repeat to compare.")] = None,
    policy: Annotated[list[str] | None, typer.Option("--policy", help="Scripted reference; repeat.")] = None,
    base: Annotated[bool, typer.Option("--base", help="Measure the base that ships with the package.")] = False,
    split: Annotated[str, typer.Option(help="train, dev or held-out.")] = "held-out",
    tasks: Annotated[int, typer.Option(help="Tasks measured at most.")] = 200,
    attempts: Annotated[int, typer.Option(help="Episodes a task.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of sampling and of the intervals.")] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override, e.g. --set agent.max_turns=8.")] = None,
    commands: Annotated[bool, typer.Option("--commands", help="Measure terminal commands, not tasks.")] = False,
    prompts: Annotated[Path | None, typer.Option(help="With --commands: your own prompts (jsonl).")] = None,
    shell: Annotated[list[str] | None, typer.Option(help="With --commands: bash, powershell or cmd; repeat.")] = None,
    agent: Annotated[list[str] | None, typer.Option(help="With --commands: a program that answers; repeat.")] = None,
    run: Annotated[str, typer.Option(help="With --commands: run answers of 'installed' shells, of one, or 'none'.")] = (
        "installed"
    ),
    json_: Annotated[bool, typer.Option("--json", help="Print the rows as one JSON object.")] = False,
) -> None:
    """Measure models and scripted references on tasks, with 95% intervals clustered by task.

    Code edits are one turn: pass@1 is then the share of exact matches, and the mean reward stands beside the table.
    --policy unchanged is the reference for them.

    Example: repodojo eval tasks --base --model runs/mine/checkpoints/rl-00040 --policy tested-search

    With --commands: terminal commands in bash, PowerShell and cmd, on prompts that ship with the package. --policy
    reference gives the answers of the set itself.

    Example: repodojo eval --commands --model MODEL --agent "python my_agent.py"
    """
    _refuse_idle(context, commands)
    if commands:
        from repodojo.cli import eval_commands

        asked = eval_commands.Asked(tuple(model or ()), base, tuple(agent or ()), tuple(policy or ()), seed)
        eval_commands.evaluate(asked, prompts, tuple(shell or ()), run, tuple(set_ or ()), json_)
        return
    if store is None:
        raise ConfigError("no task set is named", way_out="repodojo eval STORE, or --commands for terminal commands")
    import asyncio

    from repodojo.evaluate.tables import plain, rich_table
    from repodojo.rollout.orders import MODEL
    from repodojo.train import measure, rollouts, setup

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
    played: list[tuple[str, Path, str, list[Trajectory]]] = []
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
            played.append((f"{name}-{seed}", path, who, found))
            if not formula.plain or any(map(is_edit, chosen)):
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
    for each in played:  # last: a set that cannot be written to must not cost the figures
        rollouts.record_episodes(store, *each)


_OF_TASKS = ("store", "split", "tasks", "attempts")
_OF_COMMANDS = ("prompts", "shell", "agent", "run")


def _refuse_idle(context: typer.Context, commands: bool) -> None:
    """ConfigError for what was given and would do nothing with, or without, --commands."""
    for name in _OF_TASKS if commands else _OF_COMMANDS:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            said = name.upper() if name == "store" else f"--{name}"
            how = "with" if commands else "without"
            raise ConfigError(f"{said} does nothing {how} --commands", way_out=f"leave out {said} or --commands")


def _names(paths: list[Path]) -> list[str]:
    """Folder names, or whole paths where two folders have the same name."""
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]
