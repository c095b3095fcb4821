"""The run directory: what a run is, what it did, and where it goes on after `kill -9`.

    config.toml        the settings, as given
    provenance.json    the command, the machine, versions
    state.json         the resume point, always replaced whole, and always last
    metrics.jsonl      one object a line
    trajectories.db    every episode (SQLite)
    checkpoints/NAME/  weights and optimiser
    lock               held by the process that writes

The law: rows, metrics and checkpoints are written first, tagged with the number of the commit they wait for; then
`commit` replaces state.json. Whatever carries a later number than state.json is from work that did not finish, and
`resume` removes it. So a run continues from its last commit as if the rest had never been.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from repodojo.core.errors import RunError
from repodojo.core.records import Trajectory
from repodojo.train.config import Config, dump, load
from repodojo.train.cursor import Draw, TaskCursor
from repodojo.train.files import Lock, append_line, read_lines, write_atomically
from repodojo.train.store import TrajectoryStore

__all__ = ["Draw", "RunDir", "RunState", "TaskCursor"]


@dataclass(frozen=True)
class RunState:
    """The resume point. `step` counts finished steps of `stage`; `cursor` is TaskCursor.state(); `rng` is the loop's.

    `commit` and `checkpoint` are set by RunDir.commit.
    """

    stage: str = ""
    step: int = 0
    version: int = 0
    cursor: Mapping[str, Any] = field(default_factory=dict)
    rng: Mapping[str, Any] = field(default_factory=dict)
    done: bool = False
    checkpoint: str = ""
    commit: int = 0


class RunDir:
    """A run on disk. Make one with `create`, go on with one with `resume`, look at one with `read`."""

    def __init__(self, path: Path, lock: Lock | None) -> None:
        self.path = path
        self._lock = lock
        self.config: Config = load(path / "config.toml", check=False)
        self.provenance: dict[str, Any] = json.loads(_text(path / "provenance.json"))
        self.state = _state(path / "state.json")
        self.trajectories = TrajectoryStore(path / "trajectories.db", write=lock is not None)

    # ------------------------------------------------------------ opening

    @classmethod
    def create(
        cls, path: Path, config: Config, provenance: Mapping[str, Any] | None = None, *, after: RunDir | None = None
    ) -> RunDir:
        """A new run at `path`, which must be missing or empty. Built beside it and renamed, so never half made.

        after: a run whose state, episodes, metrics and last checkpoint are copied: the new one goes on where it stands
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            held = "already holds a run" if is_run(path) else "is not empty and is no run"
            way_out = f"--resume {path}, or another folder" if is_run(path) else "name another folder"
            raise RunError(f"{path} {held}", way_out=way_out)
        fresh = path.absolute().with_name(f".{path.name}.{os.getpid()}.new")
        try:
            (fresh / "checkpoints").mkdir(parents=True)
            (fresh / "config.toml").write_text(dump(_anchored(config)), encoding="utf-8")
            (fresh / "provenance.json").write_text(json.dumps(dict(provenance or {}), indent=2), encoding="utf-8")
            (fresh / "state.json").write_text(
                json.dumps(asdict(after.state if after else RunState())), encoding="utf-8"
            )
            if after:
                after._copy(fresh)
            TrajectoryStore(fresh / "trajectories.db", write=True).close()
            os.replace(fresh, path)
        except OSError as error:
            raise RunError(f"{path} cannot be made: {error.strerror}", way_out="name a folder you can write") from None
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return cls.resume(path)

    @classmethod
    def resume(cls, path: Path) -> RunDir:
        """Open for writing, alone, with everything later than the last commit removed; RunError where it is no run."""
        _require_run(path)
        lock = Lock(path / "lock")
        try:
            run = cls(path, lock)
            run._forget_unfinished()
        except BaseException:
            lock.release()
            raise
        return run

    @classmethod
    def read(cls, path: Path) -> RunDir:
        """Open for looking, also while another process writes. Changes nothing."""
        _require_run(path)
        return cls(path, None)

    def close(self) -> None:
        """Safe to call twice. Uncommitted work stays on disk until the next `resume` removes it."""
        self.trajectories.close()
        if self._lock:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> RunDir:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ writing

    def add(self, trajectories: Iterable[Trajectory], *, stage: str, step: int) -> None:
        """Keep episodes, in one transaction. They stay only if a commit follows."""
        self.trajectories.add(trajectories, stage=stage, step=step, pending=self.state.commit + 1)

    def log(
        self, stage: str, step: int, metrics: Mapping[str, float], details: Mapping[str, Any] | None = None
    ) -> None:
        """Append one line of metrics and other `details`; RunError on a full disk, with no half line left."""
        self._writing()
        head = {"stage": stage, "step": step, "time": round(time.time(), 3), "commit": self.state.commit + 1}
        values = {name: v if isinstance(v, int | float) else float(v) for name, v in metrics.items()}
        append_line(self.path / "metrics.jsonl", json.dumps(head | values | dict(details or {})))

    def checkpoint(self, name: str, write: Callable[[Path], object]) -> Path:
        """Let `write` fill a folder, which gets its name only when it is whole. It counts once a commit names it."""
        self._writing()
        final = self.path / "checkpoints" / name
        if Path(name).name != name or name.startswith(".") or final.exists():
            raise RunError(f"checkpoint {name!r} exists or is no plain name", way_out="choose another name")
        partial = final.with_name(f".{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            write(partial)
            _sync_tree(partial)
            os.replace(partial, final)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise RunError(f"{final}: {error.strerror or error}", way_out="free some disk and resume the run") from None
        return final

    def commit(self, state: RunState, *, checkpoint: str = "") -> None:
        """Make everything written since the last commit count. `checkpoint` is where a resumed run takes its weights.

        Without one the state keeps naming the checkpoint before, which is right only while weights do not change.
        """
        self._writing()
        name = checkpoint or self.state.checkpoint
        if name and not (self.path / "checkpoints" / name).is_dir():
            raise RunError(f"there is no checkpoint {name!r} to commit", way_out="write it before the commit")
        state = replace(state, checkpoint=name, commit=self.state.commit + 1)
        write_atomically(self.path / "state.json", json.dumps(asdict(state)))
        self.state = state

    def prune(self, keep: int, *, spare: Collection[str] = ()) -> None:
        """Remove all but the newest `keep` checkpoints; what the state names and what `spare` names always stays."""
        self._writing()
        folders = sorted(self._checkpoints(), key=lambda p: p.stat().st_mtime_ns, reverse=True)
        for folder in folders[keep:]:
            if folder.name not in (self.state.checkpoint, *spare):
                _remove(folder)

    # ------------------------------------------------------------ reading

    def metrics(self) -> list[dict[str, Any]]:
        """Every whole line, in order (a torn last one is left out)."""
        return read_lines(self.path / "metrics.jsonl")

    def query(self, where: str = "1", params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """See TrajectoryStore.query."""
        return self.trajectories.query(where, params)

    def load(self, trajectory_id: str) -> Trajectory:
        """See TrajectoryStore.load."""
        return self.trajectories.load(trajectory_id)

    def latest_checkpoint(self) -> Path | None:
        """The folder that the last commit names."""
        return self.path / "checkpoints" / self.state.checkpoint if self.state.checkpoint else None

    # ------------------------------------------------------------ inside

    def _writing(self) -> None:
        if self._lock is None:
            raise RunError(f"{self.path} is open for reading only", way_out="open the run with RunDir.resume")

    def _checkpoints(self) -> list[Path]:
        return [p for p in (self.path / "checkpoints").glob("[!.]*") if p.is_dir()]

    def _copy(self, folder: Path) -> None:
        """What this run did; whoever resumes the copy forgets what no commit followed."""
        if (metrics := self.path / "metrics.jsonl").exists():
            shutil.copyfile(metrics, folder / metrics.name)
        self.trajectories.copy(folder / "trajectories.db")
        if latest := self.latest_checkpoint():
            shutil.copytree(latest, folder / "checkpoints" / latest.name)

    def _forget_unfinished(self) -> None:
        """Back to the last commit. Stopped half-way, it can be done again."""
        self.trajectories.drop_after(self.state.commit)
        lines = read_lines(self.path / "metrics.jsonl")
        kept = [json.dumps(line) for line in lines if line["commit"] <= self.state.commit]
        write_atomically(self.path / "metrics.jsonl", "".join(line + "\n" for line in kept))
        named = self.latest_checkpoint()
        written = named.stat().st_mtime_ns if named else 0
        for folder in (self.path / "checkpoints").iterdir():
            if folder.name.startswith(".") or (folder != named and folder.stat().st_mtime_ns >= written):
                _remove(folder)


def is_run(path: Path) -> bool:
    """Whether a folder is a run."""
    return (path / "state.json").is_file() and (path / "config.toml").is_file()


def _anchored(config: Config) -> Config:
    """With absolute folders, so that a run can be resumed from anywhere."""
    rollout = config.rollout
    for name in ("engine_key_file", "engine_weights"):
        if value := getattr(rollout, name):
            rollout = rollout.model_copy(update={name: str(Path(value).absolute())})
    model, tasks, attacker = (
        section.model_copy(update={name: str(Path(getattr(section, name)).absolute())})
        if getattr(section, name)
        else section
        for section, name in ((config.model, "path"), (config.tasks, "store"), (config.attacker, "finds"))
    )
    return config.model_copy(update={"model": model, "tasks": tasks, "attacker": attacker, "rollout": rollout})


def _require_run(path: Path) -> None:
    if not is_run(path):
        raise RunError(f"{path} is no run", way_out="name the folder that `repodojo train` wrote")


def _state(path: Path) -> RunState:
    try:
        return RunState(**json.loads(_text(path)))
    except (json.JSONDecodeError, TypeError) as error:
        raise RunError(f"{path}: {error}", way_out="this run was made by another version; start a new one") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}", way_out="the run is not whole; start a new one") from None


def _remove(folder: Path) -> None:
    """By a hidden name first: killed in between, no half-empty checkpoint carries a good name."""
    hidden = folder.with_name("." + folder.name.lstrip(".") + ".removed")
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
