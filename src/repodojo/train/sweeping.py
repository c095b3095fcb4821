"""A sweep carried out: runs one after the other, each resumed where it stopped, and a table with paired intervals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repodojo.core.errors import ConfigError, RepodojoError
from repodojo.core.machine import described
from repodojo.core.records import Split, Task, Trajectory
from repodojo.evaluate.metrics import mean_interval
from repodojo.evaluate.summary import Difference, Row, paired_difference
from repodojo.evaluate.tables import write_results
from repodojo.rollout.orders import MODEL
from repodojo.train import measure, setup
from repodojo.train.config import Config
from repodojo.train.events import Watcher
from repodojo.train.loop import train
from repodojo.train.rundir import RunDir, is_run
from repodojo.train.stages import spans
from repodojo.train.sweep import BASE, BEFORE_RL, SHARED, Sweep

RESULTS = "results.json"
Curves = dict[str, dict[int, float]]
"""Metric, then step of RL, then its value."""


def _found(config: Config) -> list[Task]:
    return asyncio.run(setup.fitting(config, config.eval.split, config.eval.tasks))


def _played(
    config: Config, model: Path, tasks: Sequence[Task], policy: str, name: str, watcher: Watcher
) -> list[Trajectory]:
    with setup.open_pool(config, model) as pool:
        return measure.episodes(
            pool,
            tasks,
            attempts=config.eval.attempts,
            seed=config.run.seed,
            policy=policy,
            name=f"measured/{name}",
            on_episode=watcher.advance,
        )


@dataclass(frozen=True)
class Parts:
    """Who does the work of a sweep: the real ones, or fakes.

    check: refuses a configuration before anything begins;  find: the tasks to measure on;  train: carries a run to its
    end, or `through` a stage;  play: episodes of a model on tasks;  row: their line of the table
    """

    check: Callable[[Config], None] = setup.check
    find: Callable[[Config], list[Task]] = _found
    train: Callable[..., Path] = train
    play: Callable[[Config, Path, Sequence[Task], str, str, Watcher], list[Trajectory]] = _played
    row: Callable[[str, Sequence[Trajectory], Sequence[Task], Path, int], Row] = measure.row


@dataclass
class Sweeping:
    """One sweep in a folder: FOLDER/VARIANT/seed-N are its runs, FOLDER/results.json what came of it.

    more: overrides beyond the file's, for all runs. A run that fails is reported and does not stop the others.
    on: the split that each row was measured on;  missing: runs that are not done yet
    """

    sweep: Sweep
    folder: Path
    watcher: Watcher
    more: tuple[str, ...] = ()
    command: str = "repodojo compare"
    parts: Parts = Parts()
    episodes: dict[str, list[Trajectory]] = field(default_factory=dict)
    by_seed: dict[str, dict[str, float]] = field(default_factory=dict)
    training: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    curves: dict[str, list[Curves]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    on: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def play(self) -> dict[str, Row]:
        """Every run, then the table; what is done already is read, not done again."""
        configs = {
            (variant, seed): self.sweep.configuration(variant, seed, self.more)
            for seed in self.sweep.seeds  # so that all variants have one seed before any has two
            for variant in self.sweep.variants
        }
        for config in configs.values():  # a mistake in the last variant must not be found after a night
            self.parts.check(config)
        self.missing = [f"{variant}/seed-{seed}" for variant, seed in configs]
        rows: dict[str, Row] = {}
        for (variant, seed), config in configs.items():
            name = f"{variant}/seed-{seed}"
            try:
                self._begin(self.folder / name, config)
                with self._opened(self.folder / name, config) as run:
                    self._one(run, variant, seed)
            except ConfigError:
                raise
            except RepodojoError as error:
                self.errors[name] = str(error)
            self.missing.remove(name)
            rows = self._table()  # a sweep may take days: what is there can be read
        return rows

    def _begin(self, path: Path, config: Config) -> None:
        """Where stages are shared: the run of this name after them, which are carried out if they were not yet."""
        if is_run(path) or not self.sweep.share:
            return
        seed = config.run.seed
        settings = self.sweep.configuration(self.sweep.reference, seed, self.more)
        with self._opened(self.folder / SHARED / f"seed-{seed}", settings) as shared:
            self.parts.train(shared, self.watcher, through=self.sweep.share)
            RunDir.create(path, config, self._provenance(), after=shared).close()

    def _provenance(self) -> dict[str, Any]:
        return {"command": self.command, "machine": described()}

    def _opened(self, path: Path, config: Config) -> RunDir:
        """The run of this name, new or begun; ConfigError where it was begun with other settings."""
        if not is_run(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            return RunDir.create(path, config, self._provenance())
        run = RunDir.resume(path)
        if _settings(run.config) != _settings(config):
            run.close()
            raise ConfigError(
                f"{path} was begun with other settings", way_out="give another -o, or the settings of then"
            )
        return run

    def _one(self, run: RunDir, variant: str, seed: int) -> None:
        """One run: trained to its end, and what is to be measured of it."""
        splits = self.sweep.splits or (run.config.eval.split,)
        sets = {split: self.parts.find(_measured_on(run.config, split)) for split in splits}
        self.tasks.update((task.id, task) for chosen in sets.values() for task in chosen)
        beside = self.sweep.baselines if variant == self.sweep.reference else ()
        for name in (name for name in beside if name not in BEFORE_RL):
            policy = MODEL if name == BASE else name
            for split, chosen in sets.items():
                self._measure(run, name, split, setup.model_path(run.config), policy, chosen)
        folders = {"final": self.parts.train(run, self.watcher)}
        folders |= {name: run.path / "checkpoints" / name for name in BEFORE_RL}
        folders |= {
            f"stage:{s.name}": run.path / "checkpoints" / f"rl-{s.end:05d}" for s in spans(run.config) if s.name
        }
        alone = len(self.sweep.measure) == 1
        rows = {name: folders[name] for name in beside if name in BEFORE_RL}
        rows |= {variant if alone else f"{variant}: {what}": folders[what] for what in self.sweep.measure}
        for name, model in rows.items():
            for split, chosen in sets.items():
                self._measure(run, name, split, model, MODEL, chosen)
        self.training.setdefault(variant, []).append(_figures(run, self.sweep.metrics))
        self.curves.setdefault(variant, []).append(_by_step(run, self.sweep.curves))

    def _measure(self, run: RunDir, name: str, split: Split, model: Path, policy: str, tasks: Sequence[Task]) -> None:
        """Episodes of one model on the tasks of a split, kept in the run."""
        label = f"{name} ({split})" if len(self.sweep.splits) > 1 else name
        self.on[label] = split
        stage, attempts, seed = f"eval-{label}", run.config.eval.attempts, run.config.run.seed
        found = [run.load(row["id"]) for row in run.query("stage = ? ORDER BY rowid", (stage,))]
        self.watcher.phase(f"{run.path.parent.name} {run.path.name}: {label}", len(tasks) * attempts)
        if len(found) != len(tasks) * attempts:
            found = self.parts.play(_measured_on(run.config, split), model, tasks, policy, label, self.watcher)
            run.add(found, stage=stage, step=0)
            run.commit(run.state)
        self.episodes.setdefault(label, []).extend(found)
        scored = [t.score.solved for t in found if t.score.value is not None]
        self.by_seed.setdefault(label, {})[str(seed)] = sum(scored) / max(len(scored), 1)

    def _table(self) -> dict[str, Row]:
        """Rows over all seeds together, and each variant against the reference, task by task."""
        store = Path(self.sweep.configuration(self.sweep.reference, self.sweep.seeds[0], self.more).tasks.store)
        rows = {
            name: self.parts.row(name, found, list(self.tasks.values()), store, 0)
            for name, found in self.episodes.items()
        }
        extra: dict[str, Any] = {
            "name": self.sweep.name,
            "about": self.sweep.about,
            "seeds": list(self.sweep.seeds),
            "by_seed": self.by_seed,
            "reward": {name: _rewards(found) for name, found in self.episodes.items()},
            "training": {name: _means(found) for name, found in self.training.items()},
            "curves": {name: _mean_curves(found) for name, found in self.curves.items() if self.sweep.curves},
            "errors": self.errors,
            "missing": self.missing,
        }
        differences = self.differences(rows)
        write_results(self.folder / RESULTS, rows, seed=0, command=self.command, differences=differences, extra=extra)
        return rows

    def differences(self, rows: dict[str, Row]) -> list[Difference]:
        """Of each row to the reference's last measured one on the same split, intervals clustered by task."""
        last, reference = self.sweep.measure[-1], self.sweep.reference
        name = reference if len(self.sweep.measure) == 1 else f"{reference}: {last}"
        against = {split: label for label, split in self.on.items() if label in (name, f"{name} ({split})")}
        pairs = [(key, against[self.on[key]]) for key in rows if self.on[key] in against]
        return [paired_difference(rows[key], rows[other], seed=0) for key, other in pairs if key != other]


def _measured_on(config: Config, split: Split) -> Config:
    return config.model_copy(update={"eval": config.eval.model_copy(update={"split": split})})


def _rewards(found: Sequence[Trajectory]) -> dict[str, Any]:
    """The mean reward, with its interval clustered by task; nothing where no episode has a score."""
    by_task: dict[str, list[float]] = {}
    for t in found:
        if t.score.value is not None:
            by_task.setdefault(t.task_id, []).append(t.score.value)
    means = [sum(values) / len(values) for values in by_task.values()]
    return {"mean": sum(means) / len(means), "ci": list(mean_interval(means, seed=0))} if means else {}


def _settings(config: Config) -> Config:
    """Without the paths, which a run keeps absolute."""
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"path": Path(config.model.path).name}),
            "tasks": config.tasks.model_copy(update={"store": Path(config.tasks.store).name}),
        }
    )


def _figures(run: RunDir, names: Sequence[str]) -> dict[str, float]:
    """Means over the steps of RL, and the episodes that training played."""
    lines = [line for line in run.metrics() if line["stage"] == "rl"]
    found = {"rollouts": float(len(run.query("stage IN ('rft', 'rl')")))}
    for name in names:
        if values := [float(line[name]) for line in lines if name in line]:
            found[name] = sum(values) / len(values)
    return found


def _by_step(run: RunDir, names: Sequence[str]) -> Curves:
    lines = [line for line in run.metrics() if line["stage"] == "rl"]
    return {name: {line["step"]: float(line[name]) for line in lines if name in line} for name in names}


def _mean_curves(found: Sequence[Curves]) -> dict[str, dict[str, list[float]]]:
    """{"METRIC": {"step": [...], "mean": [...]}}, over the seeds that have the step."""
    made: dict[str, dict[str, list[float]]] = {}
    for name in dict.fromkeys(name for one in found for name in one):
        values: dict[int, list[float]] = {}
        for one in found:
            for step, value in one.get(name, {}).items():
                values.setdefault(step, []).append(value)
        steps = sorted(values)
        made[name] = {"step": [float(s) for s in steps], "mean": [sum(values[s]) / len(values[s]) for s in steps]}
    return made


def _means(found: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Over seeds, with the interval where there are several."""
    names = dict.fromkeys(name for one in found for name in one)
    made: dict[str, Any] = {}
    for name in names:
        values = [one[name] for one in found if name in one]
        made[name] = {"mean": sum(values) / len(values), "by_seed": values}
        if len(values) > 1:
            made[name]["ci"] = list(mean_interval(values, seed=0))
    return made
