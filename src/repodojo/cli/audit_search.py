"""`repodojo audit --policy`: a model looks for exploits of the configured reward, and learns to where that is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repodojo.audit.finds import keep, load
from repodojo.cli.progress import Bars
from repodojo.core.errors import ConfigError
from repodojo.core.records import Task, Trajectory
from repodojo.train import measure, setup
from repodojo.train.config import Config
from repodojo.train.sections import Attacker

BASE = "base"


@dataclass(frozen=True)
class Search:
    """How long is searched: episodes a task, and before that steps of RL on a split (at most `limit` of its tasks)."""

    attempts: int
    steps: int
    split: str
    limit: int
    seed: int


def search(settings: Config, tasks: Sequence[Task], policy: str, how: Search, bars: Bars) -> dict[str, Any]:
    """Episodes of the policy as an attacker; what it was paid for is saved as an attack file.

    The object says: episodes, paid (without solving), honest (the task was mended, which earns nothing), outages,
    found (files that are new), run (where the attacker was trained).
    """
    own = {"attacker": Attacker(enabled=True, finds=str(setup.finds(settings)))}
    config = settings.model_copy(update={**own, "model": settings.model.model_copy(update={"path": _path(policy)})})
    known = {attack.name for attack in load(setup.finds(settings))}
    model, run = _trained(config, how, bars) if how.steps else (setup.model_path(config), "")
    bars.phase("search", len(tasks) * how.attempts)
    with setup.open_pool(config, model) as pool:
        episodes = measure.episodes(
            pool, tasks, attempts=how.attempts, seed=how.seed, name="search", on_episode=bars.advance
        )
    keep(episodes, setup.finds(settings))
    new = [attack.name for attack in load(setup.finds(settings)) if attack.name not in known]
    return {"search": {**counted(episodes), "found": [str(setup.finds(settings) / f"{n}.py") for n in new], "run": run}}


def counted(episodes: Sequence[Trajectory]) -> dict[str, int]:
    """What became of the episodes of a search."""
    return {
        "episodes": len(episodes),
        "paid": sum((t.score.value or 0.0) > 0 for t in episodes),
        "honest": sum(t.score.parts.get("honest", 0.0) > 0 for t in episodes),
        "outages": sum(t.score.value is None for t in episodes),
    }


def _path(policy: str) -> str:
    if policy == BASE:
        return ""
    if not Path(policy).is_dir():
        raise ConfigError(f"--policy {policy} is no model folder", way_out=f"name one, or {BASE} for the shipped base")
    return policy


def _trained(config: Config, how: Search, bars: Bars) -> tuple[Path, str]:
    """The attacker after its steps, and its run; an unfinished run in run.dir is resumed."""
    from repodojo.core.machine import described
    from repodojo.train.loop import train
    from repodojo.train.rundir import RunDir, is_run

    update = {
        "run": config.run.model_copy(update={"stages": ("rl",), "seed": how.seed}),
        "rl": config.rl.model_copy(update={"steps": how.steps}),
        "tasks": config.tasks.model_copy(update={"limit": how.limit, "split": how.split or config.tasks.split}),
    }
    config = config.model_copy(update=update)
    folder = Path(config.run.dir)
    told = {"command": "repodojo audit --policy", "machine": described(), "search": json.dumps(vars(how))}
    run = RunDir.resume(folder) if is_run(folder) else RunDir.create(folder, config, told)
    with run:
        if run.config.rl.steps != how.steps or not run.config.attacker.enabled:
            raise ConfigError(f"{folder} holds another run", way_out="name a new one with --set run.dir=FOLDER")
        return train(run, bars), str(folder)
