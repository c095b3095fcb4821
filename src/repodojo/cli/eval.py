"""`repodojo eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repodojo.core.errors import ConfigError


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
    ablate: Annotated[str, typer.Option(help='"context": measure what each part of it is worth, too.')] = "",
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

    With --ablate context each is measured with all of its context and without each part of it (the retrieved code,
    and what agent.sources names), on the same tasks and seeds; what a part is worth is the paired difference.

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
    from repodojo.cli import eval_tasks

    given = eval_tasks.Asked(store, tuple(model or ()), base, tuple(policy or ()), split, tasks, attempts, seed, ablate)
    eval_tasks.evaluate(given, tuple(set_ or ()), json_)


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
