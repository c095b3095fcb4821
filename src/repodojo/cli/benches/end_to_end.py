"""Reinforcement learning from task to weights: `repodojo train` against TRL's GRPOTrainer with its environments.

Both sides: the same base, tasks, groups, turns, tokens a turn, learning rate, boxes, tools and tests, on all cores;
GRPO, every group learned from. Ours: `repodojo train`, a worker a core. Theirs: TRL in an environment of its own, made
on the first call (`--peer FOLDER` says where), its trainer, its generation, its `environment_factory`, with this
project's tools and boxes behind it. `ratio` is trajectories an hour, ours over theirs, wall-clock of the steps alone.
`ours_seconds_to` and `theirs_seconds_to` say when the mean reward of a step first reached `target` (null: never).

TRL cannot end an episode at `submit`: its loop asks on until the model calls nothing or turns run out.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repodojo.cli.benches import _peers
from repodojo.cli.benches._school import make_store
from repodojo.core.errors import TaskError
from repodojo.core.machine import cores
from repodojo.train import config as configuration
from repodojo.train import setup
from repodojo.train.config import Config
from repodojo.train.loop import train
from repodojo.train.quickstart import make_tasks
from repodojo.train.rundir import RunDir

PACKAGES = ("trl==1.16.0",)
TARGET = 0.3


def run(quick: bool, peer: Path | None = None, steps: int = 0, tasks: Path | None = None) -> dict[str, Any]:
    """8 groups of 8 and 10 steps on the quickstart's tasks (quick: 2 groups of 2, 1 step, tasks made on the spot).

    `steps` and `tasks` (a task store) put others in their place.
    """
    python = _peers.interpreter(peer or _peers.default_folder("trl-1.16.0"), PACKAGES)
    with tempfile.TemporaryDirectory(prefix="repodojo-end-to-end-") as folder:
        store = tasks.absolute() if tasks is not None else _tasks(Path(folder), quick)
        config = settings(store, Path(folder) / "run", quick, steps)
        ours = play_ours(config)
        theirs = _peers.lines(python, Path(__file__).with_name("_trl_side.py"), peer_settings(config, Path(folder)))
    return summary(ours, theirs) | {"steps": config.rl.steps, "seed": config.run.seed, "packages": list(PACKAGES)}


def settings(store: Path, out: Path, quick: bool, steps: int = 0) -> Config:
    """What is trained, for both sides; `steps` 0: as many as belong to the size."""
    workers = cores()
    small = {"rl.steps": 1, "rl.groups_per_step": 2, "rollout.group_size": 2, "agent.max_turns": 2}
    full = {"rl.steps": 10, "rl.groups_per_step": 8, "rollout.group_size": 8, "agent.max_turns": 8}
    given = {
        "run.dir": str(out),
        "run.stages": "rl",
        "run.trackers": "jsonl",
        "tasks.store": str(store),
        "tasks.max_prompt_tokens": 480,
        "agent.max_tokens": 64,
        "agent.max_context": 1536,
        "sandbox.allow_unisolated": "true",
        "rollout.workers": workers,
        "rl.recipe": "grpo",
        "rl.minibatches": 1,
        "rl.learning_rate": 1e-4,
        "monitor.enabled": "false",
        **(small if quick else full),
        **({"rl.steps": steps} if steps else {}),
    }
    return configuration.load(None, [f"{name}={value}" for name, value in given.items()])


def peer_settings(config: Config, folder: Path) -> dict[str, Any]:
    """The same for TRL's side."""
    tasks = asyncio.run(setup.fitting(config, "train"))
    return {
        "store": config.tasks.store,
        "model": str(setup.model_path(config)),
        "tasks": [task.id for task in tasks],
        "groups": config.rl.groups_per_step,
        "group_size": config.rollout.group_size,
        "steps": config.rl.steps,
        "turns": config.agent.max_turns,
        "turn_tokens": config.agent.max_tokens,
        "context": config.agent.max_context - config.tasks.max_prompt_tokens,
        "learning_rate": config.rl.learning_rate,
        "seed": config.run.seed,
        "threads": config.rollout.workers,
        "allow_unisolated": config.sandbox.allow_unisolated,
        "out": str(folder / "trl"),
    }


def play_ours(config: Config) -> list[dict[str, Any]]:
    """A line a step, as TRL's side prints them."""
    with RunDir.create(Path(config.run.dir), config, {"command": "repodojo bench end-to-end"}) as run:
        train(run)
        return [
            {
                "seconds": line["rollout_seconds"] + line["learn_seconds"],
                "reward": line["reward"],
                "episodes": line["episodes"],
            }
            for line in run.metrics()
            if line["stage"] == "rl"
        ]


def summary(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures of both sides; TaskError where one of them did no step.

    >>> step = {"seconds": 36.0, "reward": 0.5, "episodes": 64}
    >>> summary([step], [{**step, "seconds": 360.0}])["ratio"]
    10.0
    """
    if not ours or not theirs:
        raise TaskError("one side finished no step", way_out="run the benchmark on a machine that is less busy")
    per_hour = [3600 * sum(s["episodes"] for s in side) / sum(s["seconds"] for s in side) for side in (ours, theirs)]
    return {
        "ratio": per_hour[0] / per_hour[1],
        "ours_trajectories_an_hour": per_hour[0],
        "theirs_trajectories_an_hour": per_hour[1],
        "target": TARGET,
        "ours_step_seconds": [round(step["seconds"], 1) for step in ours],
        "theirs_step_seconds": [round(step["seconds"], 1) for step in theirs],
        "ours_seconds_to": seconds_to(ours, TARGET),
        "theirs_seconds_to": seconds_to(theirs, TARGET),
        "ours_rewards": [round(step["reward"], 3) for step in ours],
        "theirs_rewards": [round(step["reward"], 3) for step in theirs],
    }


def seconds_to(steps: Sequence[dict[str, Any]], target: float) -> float | None:
    """Seconds of steps until one whose mean reward is at least `target`, that one included; None: there is none."""
    spent = itertools.accumulate(step["seconds"] for step in steps)
    return next((seconds for seconds, step in zip(spent, steps, strict=True) if step["reward"] >= target), None)


def _tasks(folder: Path, quick: bool) -> Path:
    if quick:
        return make_store(folder).path
    make_tasks(folder / "store", lambda _source: lambda _stage, _done, _of: None, allow_unisolated=True)
    return folder / "store"
