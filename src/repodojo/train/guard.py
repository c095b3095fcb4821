"""The monitor of a run: what it withheld, what a person released, and what it must know after a resume.

    RUN/releases.jsonl     a line each: the id of an episode or the name of an alarm, and the commit it came after

Quarantined episodes are rows of trajectories.db without a reward; releasing one changes no row. What is released counts
from then on: rejection fine-tuning learns from it, and the same evidence on the same task is no sign any more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repodojo.audit.monitor.monitor import Monitor, Watch
from repodojo.audit.monitor.quarantine import released, signs_of, value_of
from repodojo.audit.monitor.series import Bounds
from repodojo.audit.monitor.signs import Sign
from repodojo.core.errors import RunError
from repodojo.core.records import Group, Task, Trajectory
from repodojo.train.config import Config
from repodojo.train.files import append_line, read_lines
from repodojo.train.rundir import RunDir

RELEASES = "releases.jsonl"
ALARMS = ("jump", "collapse")


@dataclass(frozen=True)
class Entry:
    """A suspicious episode as a person sees it. `reward` is what it would be paid (None after an outage)."""

    id: str
    task_id: str
    stage: str
    step: int
    reward: float | None
    signs: tuple[Sign, ...]
    withheld: bool
    released: bool

    def told(self, most: int = 3) -> list[str]:
        """A line a sign: its name and what shows it, at most `most` things."""
        shown: dict[str, list[str]] = {}
        for sign in self.signs:
            shown.setdefault(sign.name, []).append(sign.evidence)
        more = {name: f", and {len(all_) - most} more" if len(all_) > most else "" for name, all_ in shown.items()}
        return [f"{name}: {', '.join(all_[:most])}{more[name]}" for name, all_ in shown.items()]


def watch(config: Config) -> Watch:
    """What the configuration has the monitor look for."""
    m = config.monitor
    watched = frozenset(m.signs).intersection(ALARMS)
    by_check = m.release == "held-out" and config.rl.eval_every > 0
    return Watch(m.signs, m.withhold, Bounds(m.window, m.jump, m.collapse, watched, by_check))


class Guard:
    """What the training loop asks; with [monitor] off it changes nothing."""

    def __init__(self, run: RunDir, tasks: Sequence[Task]) -> None:
        self._run = run
        watched = run.config.monitor.enabled and not run.config.attacker.enabled
        self._monitor = Monitor(watch(run.config), tasks) if watched else None
        self._obeyed = 0
        self._refuted = self._nothing_left = False
        if self._monitor:
            self._remember(self._monitor)

    def screen(self, trajectory: Trajectory) -> Trajectory:
        """One episode as it comes back."""
        return self._monitor.screen(trajectory) if self._monitor else trajectory

    def screen_group(self, group: Group) -> Group:
        """The same for a group's episodes."""
        return Group(group.id, group.task_id, tuple(self.screen(t) for t in group.trajectories))

    def judge(self, seen: Sequence[Trajectory], groups: Sequence[Group]) -> tuple[list[Trajectory], list[Group]]:
        """A step of RL, all that was seen and the groups to learn from, after a look at the step as a whole."""
        if self._monitor is None:
            return list(seen), list(groups)
        self._obey(self._monitor)
        judged = {t.id: t for t in self._monitor.judge(seen)}
        self._nothing_left = bool(judged) and all(t.score.quarantined for t in judged.values())
        again = [Group(g.id, g.task_id, tuple(judged[t.id] for t in g.trajectories)) for g in groups]
        return list(judged.values()), again

    def metrics(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """What goes into metrics.jsonl; nothing where the monitor is off."""
        return self._monitor.metrics(trajectories) if self._monitor else {}

    def checked(self, rate: float) -> None:
        """A held-out check was made: it may end an alarm."""
        if self._monitor:
            self._monitor.series.check(rate)
            self._refuted = bool(self._monitor.series.open)

    def refuse(self) -> None:
        """RunError where nothing but a person's word can give this run a reward to learn from."""
        if self._monitor is None or not self._monitor.watch.withhold:
            return
        self._obey(self._monitor)
        series = self._monitor.series
        name = f"repodojo monitor {self._run.path}"
        if series.open and (self._refuted or not series.bounds.by_check):
            alarm = next(iter(series.open.values()))
            cause = f"the monitor stopped the run: {alarm.sign.name}: {alarm.sign.evidence}"
            raise RunError(cause, way_out=f"look with `{name}`; if it is sound, --release {alarm.sign.name} and resume")
        if self._nothing_left:
            self._nothing_left = False
            raise RunError(
                "the monitor stopped the run: it withholds every reward of this step",
                way_out=f"look with `{name}`; release what is sound or mend the reward, then resume",
            )

    def _obey(self, monitor: Monitor) -> None:
        """Take in what a person released since the last look."""
        lines = releases(self._run.path)
        for line in lines[self._obeyed :]:
            if line["id"] in ALARMS:
                monitor.series.release(line["id"])
            elif self._run.query("id = ?", (line["id"],)):  # a row of work that did not finish is gone after a resume
                monitor.allow(self._run.load(line["id"]))
        self._obeyed = len(lines)

    def _remember(self, monitor: Monitor) -> None:
        """Go through the run's metrics again, each release where it was said."""
        said = [line for line in releases(self._run.path) if line["id"] in ALARMS]
        for line in self._run.metrics():
            while said and said[0]["commit"] < line["commit"]:
                monitor.series.release(said.pop(0)["id"])
            if line["stage"] == "rl":
                monitor.replay(line)
            elif line["stage"] == "eval":
                self.checked(line["solve_rate"])
        self._obey(monitor)
        self._refuted = self._refuted and bool(monitor.series.open)


# ---------------------------------------------------------------- what a person sees and says


def releases(run: Path) -> list[dict[str, Any]]:
    """Every release so far, in order."""
    return read_lines(run / RELEASES)


def entries(run: RunDir) -> list[Entry]:
    """Suspicious episodes, oldest first. Where nothing is withheld every episode must be read to find them."""
    freed = {line["id"] for line in releases(run.path)}
    where = "reward IS NULL" if run.config.monitor.withhold else "1"
    found = []
    for row in run.query(f"{where} ORDER BY rowid"):
        trajectory = run.load(row["id"])
        if signs := signs_of(trajectory):
            about = (row["task_id"], row["stage"], row["step"], value_of(trajectory), tuple(signs))
            found.append(Entry(row["id"], *about, trajectory.score.quarantined, row["id"] in freed))
    return found


def release(run: RunDir, names: Sequence[str]) -> list[str]:
    """Release episodes by id, and alarms by name with the episodes that only they made suspicious; returns the ids."""
    known = {entry.id: entry for entry in entries(run)}
    alarms = {name for name in names if name in ALARMS}
    freed: list[str] = []
    for name in names:
        if name not in known and name not in ALARMS:
            raise RunError(f"{name!r} is not in quarantine", way_out=f"see: repodojo monitor {run.path}")
        if name in ALARMS:
            freed += [e.id for e in known.values() if {s.name for s in e.signs} <= alarms and not e.released]
        freed.append(name)
    for name in dict.fromkeys(freed):
        append_line(run.path / RELEASES, json.dumps({"id": name, "commit": run.state.commit}))
    return list(dict.fromkeys(freed))


def released_episodes(run: RunDir, stage: str) -> Iterator[Trajectory]:
    """Released episodes of a stage, with the reward that they had."""
    for name in dict.fromkeys(line["id"] for line in releases(run.path)):
        if run.query("id = ? AND stage = ?", (name, stage)):
            yield released(run.load(name))
