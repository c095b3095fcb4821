"""`repodojo eval STORE`: models and scripted references on tasks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import typer
from rich.console import Console

from repodojo.cli.progress import Bars
from repodojo.core.editing import is_edit
from repodojo.core.errors import ConfigError
from repodojo.core.records import Task, Trajectory
from repodojo.evaluate.summary import Difference, Row, paired_difference
from repodojo.evaluate.tables import plain, rich_table
from repodojo.rollout.orders import MODEL
from repodojo.train import ablation, measure, rollouts, setup
from repodojo.train import config as configuration
from repodojo.train.config import Config


@dataclass(frozen=True)
class Asked:
    """What is to be measured, on which tasks."""

    store: Path
    models: tuple[Path, ...]
    base: bool
    policies: tuple[str, ...]
    split: str
    tasks: int
    attempts: int
    seed: int
    ablate: str


@dataclass
class Found:
    """A row a subject (and variant), the episodes behind it, what parts are worth, and means of the reward's parts."""

    rows: list[Row] = field(default_factory=list)
    played: list[tuple[str, Path, str, list[Trajectory]]] = field(default_factory=list)
    worth: list[Difference] = field(default_factory=list)
    paid: dict[str, dict[str, float | None]] = field(default_factory=dict)


def evaluate(asked: Asked, overrides: Sequence[str], as_json: bool) -> None:
    """Measure, show, and write the outcomes beside the tasks."""
    if asked.ablate not in ("", "context"):
        raise ConfigError(f"--ablate {asked.ablate}: unknown", way_out="the one there is: --ablate context")
    config = _config(asked, overrides)
    subjects = [("base", setup.base_path(), MODEL)] if asked.base else []
    subjects += [(name, path, MODEL) for name, path in zip(_names(asked.models), asked.models, strict=True)]
    subjects += [(name, setup.model_path(config), name) for name in asked.policies]
    if not subjects:
        raise ConfigError("nothing to measure", way_out="give --base, --model FOLDER or --policy NAME")
    chosen = asyncio.run(setup.fitting(config, config.eval.split, config.eval.tasks))
    found = _measure(asked, config, subjects, chosen)
    if as_json:
        rows = {row.name: {**plain(row), **found.paid.get(row.name, {})} for row in found.rows}
        ablation_ = {"ablation": [asdict(each) for each in found.worth]} if asked.ablate else {}
        typer.echo(json.dumps({**rows, **ablation_}))
    else:
        _show(found, f"{asked.split}, {len(chosen)} tasks x {asked.attempts}")
    for each in found.played:  # last: a set that cannot be written to must not cost the figures
        rollouts.record_episodes(asked.store, *each)


def _config(asked: Asked, overrides: Sequence[str]) -> Config:
    own = [f"tasks.store={json.dumps(str(asked.store))}", f"eval.split={asked.split}", f"eval.tasks={asked.tasks}"]
    if asked.models and not asked.base:
        # What fits a prompt, and what scripts count as tokens, is told by the model that is measured.
        own.append(f"model.path={json.dumps(str(asked.models[0]))}")
    return configuration.load(None, [*own, f"eval.attempts={asked.attempts}", f"run.seed={asked.seed}", *overrides])


def _measure(asked: Asked, config: Config, subjects: Sequence[tuple[str, Path, str]], chosen: Sequence[Task]) -> Found:
    variants: Mapping[str, Config] = ablation.variants(config) if asked.ablate else {ablation.ALL: config}
    formula, found, seed = setup.formula(config), Found(), asked.seed
    with Bars() as bars:
        for name, path, who in subjects:
            for variant, varied in variants.items():
                label = name if variant == ablation.ALL else f"{name} {variant}"
                bars.phase(label, len(chosen) * asked.attempts)
                with setup.open_pool(varied, path) as pool:
                    episodes = measure.episodes(
                        pool, chosen, attempts=asked.attempts, seed=seed, policy=who, name=name, on_episode=bars.advance
                    )
                found.rows.append(measure.row(label, episodes, chosen, asked.store, seed))
                if variant == ablation.ALL:
                    found.played.append((f"{name}-{seed}", path, who, episodes))
                if not formula.plain or any(map(is_edit, chosen)):
                    means = measure.part_means(episodes, formula.names())
                    found.paid[found.rows[-1].name] = {"reward": measure.mean_reward(episodes), **means}
            own = found.rows[-len(variants) :]
            found.worth += [paired_difference(own[0], other, seed=seed) for other in own[1:]]
    return found


def _show(found: Found, title: str) -> None:
    console = Console()
    console.print(rich_table(found.rows, width=console.width, title=title))
    values = {name: dict(paid) for name, paid in found.paid.items()}
    for row in found.rows:
        if row.calibration:
            values.setdefault(row.name, {}).update(row.calibration)
    for name, paid in values.items():
        shown = ", ".join(f"{key} {value:.3f}" for key, value in paid.items() if value is not None)
        console.print(f"{name}: {shown}", highlight=False)
    for d in found.worth:
        text = f"{d.worse}: the part is worth {d.value:+.3f} pass@1 [{d.ci[0]:+.3f}, {d.ci[1]:+.3f}], {d.tasks} tasks"
        console.print(text, highlight=False)


def _names(paths: Sequence[Path]) -> list[str]:
    """Folder names, or whole paths where two folders have the same name."""
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]
