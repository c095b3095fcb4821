"""Where metrics go besides the run directory. Each tracker's package is imported when one is made."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from repodojo.core.errors import ConfigError
from repodojo.train.rundir import RunDir


class Tracker(Protocol):
    """Takes the metrics of one step; never the only place where they are kept.

    details: what is no number, for those that can keep it.
    """

    def log(
        self, stage: str, step: int, metrics: Mapping[str, float], details: Mapping[str, Any] | None = None
    ) -> None: ...

    def close(self) -> None: ...


class Jsonl:
    """metrics.jsonl of the run directory: the one that a report reads."""

    def __init__(self, run: RunDir) -> None:
        self._run = run

    def log(
        self, stage: str, step: int, metrics: Mapping[str, float], details: Mapping[str, Any] | None = None
    ) -> None:
        self._run.log(stage, step, metrics, details)

    def close(self) -> None:
        """The run directory is closed by whoever opened it."""


class TensorBoard:
    """Event files under `folder`, one folder a stage so that the steps of two stages do not overlap.

    Written with tensorboard's own writer: torch.utils.tensorboard would pull in more for the same file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def log(
        self, stage: str, step: int, metrics: Mapping[str, float], details: Mapping[str, Any] | None = None
    ) -> None:
        del details
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if stage not in self._writers:
            (self._folder / stage).mkdir(parents=True, exist_ok=True)
            self._writers[stage] = EventFileWriter(str(self._folder / stage))
        values = [Summary.Value(tag=name, simple_value=float(value)) for name, value in metrics.items()]
        self._writers[stage].add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


class WandB:
    """Weights & Biases; the run's folder name is the run's name, and resuming goes on in the same one."""

    def __init__(self, run: RunDir) -> None:
        try:
            import wandb
        except ImportError:
            raise ConfigError(
                'run.trackers names "wandb", which is not installed', way_out="pip install 'repodojo[wandb]'"
            ) from None
        name = run.path.absolute().name
        config = run.config.model_dump()
        self._run = wandb.init(
            project=run.config.run.wandb_project, name=name, id=name, resume="allow", config=config, dir=str(run.path)
        )

    def log(
        self, stage: str, step: int, metrics: Mapping[str, float], details: Mapping[str, Any] | None = None
    ) -> None:
        del details
        self._run.log({f"{stage}/{name}": value for name, value in metrics.items()} | {f"{stage}/step": step})

    def close(self) -> None:
        self._run.finish()


class Trackers:
    """Several as one."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def log(
        self, stage: str, step: int, metrics: Mapping[str, float], details: Mapping[str, Any] | None = None
    ) -> None:
        for tracker in self._trackers:
            tracker.log(stage, step, metrics, details)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()


def open_trackers(run: RunDir) -> Trackers:
    """The trackers that run.trackers names, and no other."""
    named = run.config.run.trackers
    made: list[Tracker] = [Jsonl(run)] if "jsonl" in named else []
    if "tensorboard" in named:
        made.append(TensorBoard(run.path / "tensorboard"))
    if "wandb" in named:
        made.append(WandB(run))
    return Trackers(made)
