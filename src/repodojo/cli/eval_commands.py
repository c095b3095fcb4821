"""`repodojo eval --commands`: how well terminal commands are written, by shell."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import typer
from rich.console import Console
from rich.table import Table

from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError
from repodojo.rewards.commands import SHELLS, Shell

if TYPE_CHECKING:
    from repodojo.evaluate.commands.answers import Answer
    from repodojo.evaluate.commands.measure import CommandRow
    from repodojo.evaluate.commands.prompts import Outcome
    from repodojo.evaluate.commands.running import Runner
    from repodojo.inference.chat import ChatFormat
    from repodojo.inference.engine import Engine
    from repodojo.train.config import Config

REFERENCE = "reference"


@dataclass(frozen=True)
class Asked:
    """Who is measured: model folders, the base, programs, scripted references."""

    models: tuple[Path, ...]
    base: bool
    agents: tuple[str, ...]
    policies: tuple[str, ...]
    seed: int


def evaluate(
    asked: Asked, prompts: Path | None, shells: tuple[str, ...], run: str, settings: tuple[str, ...], as_json: bool
) -> None:
    """Every subject on every prompt, then one table or one JSON object."""
    from repodojo.evaluate.commands import measure, running
    from repodojo.evaluate.commands.prompts import load
    from repodojo.train import config as configuration

    if wrong := [policy for policy in asked.policies if policy != REFERENCE]:
        raise ConfigError(f"{wrong[0]!r} answers no prompts", way_out=f"use --policy {REFERENCE}, --model or --agent")
    if not (asked.models or asked.base or asked.agents or asked.policies):
        raise ConfigError("nothing to measure", way_out="give --base, --model, --agent or --policy reference")
    config = configuration.load(None, [f"run.seed={asked.seed}", *settings])
    chosen = load(prompts, _shells(shells))
    runnable = () if run == "none" else running.runnable(None if run == "installed" else _shells((run,)))

    async def everything(bars: Bars) -> dict[str, list[Outcome]]:
        found: dict[str, list[Outcome]] = {}
        async with _runner(config, runnable) as runner:
            async for name, answer in _subjects(asked, config):
                bars.phase(name, len(chosen))
                found[name] = await measure.outcomes(chosen, answer, runner, bars.advance)
        return found

    with Bars() as bars:
        found = asyncio.run(everything(bars))
    rows = [measure.summarise(name, outcomes, seed=asked.seed) for name, outcomes in found.items()]
    if as_json:
        typer.echo(json.dumps({row.name: {**asdict(row), "wrong": _wrong(found[row.name])} for row in rows}))
    else:
        _print(rows, len(chosen), runnable)


def _shells(names: Sequence[str]) -> tuple[Shell, ...]:
    for name in names:
        if name not in SHELLS:
            raise ConfigError(f"there is no shell {name!r} here", way_out=f"use one of {', '.join(get_args(Shell))}")
    return cast(tuple[Shell, ...], tuple(names))


@contextlib.asynccontextmanager
async def _runner(config: Config, shells: tuple[Shell, ...]) -> AsyncIterator[Runner | None]:
    """What runs answers; None where none are run."""
    from repodojo.core.protocols import Limits
    from repodojo.evaluate.commands.running import SECONDS, Runner
    from repodojo.sandbox.factory import LocalFactory

    if not shells:
        yield None
        return
    allowed, limits = config.sandbox.allow_unisolated, Limits(seconds=SECONDS, memory_mb=config.sandbox.memory_mb)
    async with Runner(lambda store: LocalFactory(store, limits=limits, allow_unisolated=allowed), shells) as runner:
        yield runner


async def _subjects(asked: Asked, config: Config) -> AsyncIterator[tuple[str, Answer]]:
    """Who answers, one after the other: one model's weights are in memory at a time."""
    from repodojo.evaluate.commands import answers
    from repodojo.train import setup

    models = [("base", setup.base_path())] if asked.base else []
    for name, path in [*models, *((str(path), path) for path in asked.models)]:
        async with _engine(path, config) as (engine, chat):
            yield name, answers.of_model(engine, chat, seed=asked.seed, max_tokens=config.agent.max_tokens)
    for command in asked.agents:
        yield command, answers.of_program(command, seconds=config.agent.max_seconds)
    for policy in asked.policies:
        yield policy, answers.reference


@contextlib.asynccontextmanager
async def _engine(path: Path, config: Config) -> AsyncIterator[tuple[Engine, ChatFormat]]:
    import torch

    from repodojo.inference import checkpoint
    from repodojo.inference.chat import ChatFormat
    from repodojo.inference.engine import Engine

    chat = ChatFormat.load(path)
    dtype = getattr(torch, config.model.dtype)
    engine = Engine(
        checkpoint.load(path),
        dtype=dtype,
        max_context=config.agent.max_context,
        attention=config.rollout.attention,
        device=config.model.device,
    )
    try:
        yield engine, chat
    finally:
        await engine.aclose()


def _wrong(outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    return [{"id": o.prompt.id, "command": o.text, "why": o.why} for o in outcomes if not o.right]


def _print(rows: Sequence[CommandRow], prompts: int, runnable: tuple[Shell, ...]) -> None:
    from repodojo.evaluate.tables import rate

    console = Console()
    table = Table(title=f"terminal commands, {prompts} prompts", title_justify="left")
    for place, name in enumerate(("who", "command accuracy", *SHELLS)):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        shells = [rate(row.by_shell[s].command_accuracy) if s in row.by_shell else rate(None) for s in SHELLS]
        table.add_row(row.name, rate(row.command_accuracy, row.interval), *shells)
    console.print(table)
    for row in rows:
        kinds = ", ".join(f"{name} {rate(value)}" for name, value in row.by_category.items())
        console.print(f"{row.name}: {kinds}; {row.run} answers were run", highlight=False)
    if missing := [shell for shell in SHELLS if shell not in runnable]:
        console.print(f"not run, judged by grammar and tables alone: {', '.join(missing)}", highlight=False)
