"""A recorded run as a workload for the simulator: its episodes as they went, and engine costs fitted to its turns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repodojo.core.errors import RunError
from repodojo.core.records import Trajectory, Turn
from repodojo.rollout.simulation.workload import Costs, Plan, Recorded
from repodojo.train.rundir import RunDir

LEAST_TURNS = 8


@dataclass(frozen=True)
class Sampling:
    """When a turn was sampled (seconds since the first of the run), and what was: tokens prefilled and sampled."""

    begin: float
    end: float
    prefilled: int
    sampled: int


def recorded(run: RunDir, steps: Sequence[int] | None = None) -> Recorded:
    """The RL episodes of a run (of these steps; None: of all), in the order of their groups.

    RunError where it holds too few, or was made before episodes recorded their times.
    """
    lines = [line for line in run.metrics() if line["stage"] == "rl" and (steps is None or line["step"] in steps)]
    played = [t for line in lines for t in _played(run, line["step"])]
    turns = [turn for t in played for turn in t.turns]
    if len(turns) < LEAST_TURNS:
        cause = f"{run.path} holds {len(turns)} turns of reinforcement learning with their times"
        raise RunError(cause, way_out=f"record a run of at least {LEAST_TURNS} with this version")
    tokens = sum(len(t.token_ids()) for t in played)
    learning = sum(line["learn_seconds"] - line.get("publish_seconds", 0.0) for line in lines)
    return Recorded(
        [[_plan(t) for t in group] for group in _groups(played)],
        fitted([s for t in played for s in samplings(t)], run.config.rollout.workers),
        token_seconds=learning / tokens,
        sync_seconds=mean(line.get("publish_seconds", 0.0) for line in lines),
    )


def rounds(run: RunDir, step: int) -> list[list[list[Plan]]]:
    """The groups of a synchronous step in the rounds they were asked in: the first, and those of its refills.

    A group of a later round begins when all of the earlier ones are graded, which their times tell.
    """
    found: list[list[list[Plan]]] = []
    over = -math.inf
    for group in sorted(_groups(_played(run, step)), key=_begin):
        if _begin(group) >= over:
            found.append([])
        over = max(over, *(t.timings["started"] + t.seconds + t.timings.get("grading", 0.0) for t in group))
        found[-1].append([_plan(t) for t in group])
    return found


def _played(run: RunDir, step: int) -> list[Trajectory]:
    """The RL episodes of a step that have turns and times."""
    rows = run.query("stage = 'rl' AND step = ? ORDER BY rowid", (step,))
    return [t for t in (run.load(row["id"]) for row in rows) if t.turns and t.timings.get("started")]


def _groups(played: Sequence[Trajectory]) -> list[list[Trajectory]]:
    """In the order of their first members."""
    found: dict[str, list[Trajectory]] = {}
    for trajectory in played:
        found.setdefault(trajectory.group_id, []).append(trajectory)
    return list(found.values())


def _begin(group: Sequence[Trajectory]) -> float:
    return min(t.timings["started"] for t in group)


@dataclass(frozen=True)
class Shares:
    """CPU seconds a second of wall-clock that the machine gave a run's engines and its learner while they computed."""

    engine: float
    learner: float


def shares(run: RunDir) -> Shares | None:
    """Of a whole run; None where it was made before runs recorded them, or did not publish once."""
    lines = [line for line in run.metrics() if line["stage"] == "rl" and line.get("learn_cpu_seconds")]
    if not lines or not lines[-1].get("engine_busy_seconds"):
        return None
    learning = sum(line["learn_seconds"] - line.get("publish_seconds", 0.0) for line in lines)
    return Shares(
        engine=lines[-1]["engine_cpu_seconds"] / lines[-1]["engine_busy_seconds"],
        learner=sum(line["learn_cpu_seconds"] for line in lines) / max(learning, 1e-9),
    )


def samplings(trajectory: Trajectory) -> list[Sampling]:
    """When each turn was sampled: tools follow a turn, and what the whole took beyond both went before the first."""
    spent = sum(turn.seconds + _tools(turn) for turn in trajectory.turns)
    now = trajectory.timings["started"] + max(trajectory.seconds - spent, 0.0)
    found = []
    for turn in trajectory.turns:
        found.append(Sampling(now, now + turn.seconds, len(turn.observation_ids), len(turn.action_ids)))
        now += turn.seconds + _tools(turn)
    return found


def fitted(turns: Sequence[Sampling], engines: int = 1) -> Costs:
    """Least squares over turns, no cost below zero: seconds = sampled (fixed + each * batch) + prefill * prefilled.

    `batch` is how many others were sampling meanwhile, on average, plus one; prefilled are the tokens that anybody
    appended meanwhile, since a batch waits for them all. With several engines each has its share of both: records do
    not say which one served a turn.
    """
    begins, ends = np.sort([t.begin for t in turns]), np.sort([t.end for t in turns])
    order = np.argsort([t.begin for t in turns])
    appended = np.concatenate([[0.0], np.cumsum([turns[i].prefilled for i in order])])
    rows, seconds = [], []
    for turn in turns:
        length = max(turn.end - turn.begin, 1e-9)
        before = _integral(begins, turn.end) - _integral(begins, turn.begin)
        after = _integral(ends, turn.end) - _integral(ends, turn.begin)
        batch = max((before - after) / length / engines, 1.0)
        first, last = np.searchsorted(begins, [turn.begin, turn.end], side="left")
        rows.append(
            (turn.sampled, turn.sampled * batch, max((appended[last] - appended[first]) / engines, turn.prefilled))
        )
        seconds.append(length)
    fixed, each, prefill = _nonnegative(np.array(rows, dtype=float), np.array(seconds))
    return Costs(decode_fixed=max(fixed, 1e-9), decode_each=each, prefill_token=prefill)


def _integral(times: NDArray[Any], until: float) -> float:
    """Of the number of `times` before t, over t up to `until`."""
    past = times[: np.searchsorted(times, until)]
    return float(len(past) * until - past.sum())


def _nonnegative(rows: NDArray[np.float64], seconds: NDArray[np.float64]) -> list[float]:
    """Least squares without negative coefficients: of all subsets of columns, the best whose solution has none."""
    best, chosen = np.inf, [0.0] * rows.shape[1]
    for mask in range(1, 1 << rows.shape[1]):
        columns = [c for c in range(rows.shape[1]) if mask >> c & 1]
        solution = np.linalg.lstsq(rows[:, columns], seconds, rcond=None)[0]
        error = float(((rows[:, columns] @ solution - seconds) ** 2).sum())
        if (solution >= 0).all() and error < best:
            best, chosen = error, [0.0] * rows.shape[1]
            for column, value in zip(columns, solution.tolist(), strict=True):
                chosen[column] = value
    return chosen


def _plan(trajectory: Trajectory) -> Plan:
    turns = trajectory.turns
    tools = [_tools(turn) for turn in turns]
    sampled = sum(turn.seconds for turn in turns)
    return Plan(
        [len(turn.observation_ids) for turn in turns],
        [max(len(turn.action_ids), 1) for turn in turns],
        tools,
        start=max(trajectory.seconds - sampled - sum(tools), 0.0),
        grading=trajectory.timings.get("grading", 0.0),
    )


def _tools(turn: Turn) -> float:
    return sum(result.seconds for result in turn.results)
