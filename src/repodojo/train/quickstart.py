"""The quickstart: tasks from real packages, the base, RFT, RL, and a held-out table beside the scripted references."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from repodojo.core.errors import TaskError
from repodojo.core.records import Split, Task, Trajectory
from repodojo.evaluate.summary import Difference, Row, paired_difference
from repodojo.evaluate.tables import write_results
from repodojo.inference import checkpoint
from repodojo.rollout.orders import MODEL
from repodojo.rollout.pool import WorkerPool
from repodojo.sandbox.factory import LocalFactory
from repodojo.tasks.make import Options
from repodojo.tasks.session import make_all
from repodojo.tasks.store import TaskStore
from repodojo.train import measure, setup, splits
from repodojo.train.config import Config
from repodojo.train.events import Watcher
from repodojo.train.loop import train
from repodojo.train.rundir import RunDir

RESULTS = "results.json"


@dataclass
class Quickstart:
    """One quickstart in a run directory; each part is skipped where an earlier call has done it already."""

    run: RunDir
    watcher: Watcher
    command: str = "repodojo quickstart"
    rows: dict[str, Row] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        """The run's settings."""
        return self.run.config

    def tasks(self) -> list[Task]:
        """The held-out tasks to measure on."""
        return asyncio.run(setup.fitting(self.config, self.config.eval.split, self.config.eval.tasks))

    def play(self) -> None:
        """Measure the base and the references, train, measure again, write results.json."""
        held_out, base = self.tasks(), setup.model_path(self.config)
        with Workers(self.config) as workers:
            self._measure("base", base, MODEL, held_out, workers)
            for name in measure.REFERENCES:
                self._measure(name, base, name, held_out, workers)
        final = train(self.run, self.watcher)
        with Workers(self.config) as workers:
            self._measure("rft", self.run.path / "checkpoints" / "rft", MODEL, held_out, workers)
            self._measure("rl", final, MODEL, held_out, workers)
        write_results(
            self.run.path / RESULTS,
            self.rows,
            seed=self.config.run.seed,
            command=self.command,
            differences=self._differences(),
            extra={"held_out_tasks": len(held_out), "packages": sorted({t.labels["package"] for t in held_out})},
        )

    def _measure(self, name: str, model: Path, policy: str, tasks: list[Task], workers: Workers) -> None:
        stage, attempts = f"eval-{name}", self.config.eval.attempts
        found = [self.run.load(row["id"]) for row in self.run.query("stage = ? ORDER BY rowid", (stage,))]
        self.watcher.phase(f"measuring {name}", len(tasks) * attempts)
        if len(found) != len(tasks) * attempts:
            found = self._episodes(name, workers.of(model), policy, tasks)
            self.run.add(found, stage=stage, step=0)
            self.run.commit(self.run.state)
        store = Path(self.config.tasks.store)
        self.rows[name] = measure.row(name, found, tasks, store, self.config.run.seed)

    def _episodes(self, name: str, pool: WorkerPool, policy: str, tasks: list[Task]) -> list[Trajectory]:
        return measure.episodes(
            pool,
            tasks,
            attempts=self.config.eval.attempts,
            seed=self.config.run.seed,
            policy=policy,
            name=f"held-out/{name}",
            on_episode=self.watcher.advance,
        )

    def _differences(self) -> list[Difference]:
        pairs = (("rft", "base"), ("rl", "rft"), ("rl", "base"), ("rl", "tested-search"))
        seed = self.config.run.seed
        return [paired_difference(self.rows[better], self.rows[worse], seed=seed) for better, worse in pairs]


class Workers:
    """Workers for one model after the other: they start for the first, and take the weights of the next.

    Starting two costs six seconds on two cores.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._pool: WorkerPool | None = None
        self._model: Path | None = None
        self._version = 0

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    def of(self, model: Path) -> WorkerPool:
        """Workers that sample from the model in a folder."""
        if self._pool is None:
            self._pool = setup.open_pool(self._config, model)
        elif model != self._model:
            self._version += 1
            self._pool.publish(self._version, checkpoint.read_weights(model))
        self._model = model
        return self._pool


def make_tasks(
    store: Path, tell: Callable[[str], Callable[[str, int, int], None]], *, allow_unisolated: bool = False
) -> TaskStore:
    """The quickstart's task set: packages by split as `train.splits` names them; TaskError where one cannot be made.

    Packages that are in the store already are left as they are, so that a second call goes on where the first stopped.
    """
    known = TaskStore(store, create=True).manifest["packages"]

    def factory(path: Path) -> LocalFactory:
        return LocalFactory(path, allow_unisolated=allow_unisolated)

    used: tuple[Split, ...] = ("train", "held-out")
    for split in used:  # dev is for whoever chooses settings, and nobody does here
        packages = splits.QUICKSTART[split]
        sources = [source for source in packages if splits.name_of(source) not in known]
        for source in sources:
            options = Options(split, limit=packages[source], max_lines=20)
            for line in asyncio.run(make_all([source], store, options, factory, tell)):
                if line.error is not None:
                    raise TaskError(f"{source}: {line.error.cause}", way_out=line.error.way_out or "try again")
    return TaskStore(store)
