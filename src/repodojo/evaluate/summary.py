"""From the episodes of one policy to one row of a table. An outage is counted, and is never a failure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from repodojo.algorithms.confidence import calibration
from repodojo.core.records import Task, Trajectory, Turn
from repodojo.evaluate.commands.figures import CommandFigures, by_shell
from repodojo.evaluate.metrics import Interval, mean_interval, pass_at_k

Originals = Callable[[Task], Mapping[str, str]]
"""Path to text of the sound source of every file that a task's bug touches."""


@dataclass(frozen=True)
class Kind:
    """A part of the tasks (Task.labels["kind"]): pass@1 with its interval, over n tasks."""

    pass1: float
    pass1_ci: Interval
    n: int


@dataclass(frozen=True)
class Row:
    """One policy on a set of tasks.

    pass1, pass8: mean over tasks, with 95% intervals clustered by task; pass8 counts the `pass8_tasks` tasks that
    have at least 8 scored episodes and is None where there are none. Rates are shares of scored episodes
    (format_error_rate: of turns; tool_error_rate: of calls that were carried out). `restored` is the share of passing
    episodes whose files equal the original source, None where that is not known. turns and tokens are means an
    episode, tokens counting sampled ones. `counts` maps a task id to (scored, passed).
    `commands` holds figures of terminal commands by the shell that they were issued for; none where none were.
    `calibration` holds what `calibration_of` gives.
    """

    name: str
    episodes: int
    tasks: int
    pass1: float | None
    pass1_ci: Interval | None
    pass8: float | None
    pass8_ci: Interval | None
    pass8_tasks: int
    by_kind: Mapping[str, Kind]
    tested_before_submit: float
    submit_rate: float
    restored: float | None
    turns: float
    tokens: float
    tool_error_rate: float
    format_error_rate: float
    outages: int
    stop_reasons: Mapping[str, int]
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    commands: Mapping[str, CommandFigures] = field(default_factory=dict)
    calibration: Mapping[str, float] = field(default_factory=dict)


def calibration_of(trajectories: Iterable[Trajectory]) -> dict[str, float]:
    """How honest the probabilities stated at submit were: `stated` (their share), `ece`, `brier`, `stated_mean`.

    Over scored episodes; nothing where nobody stated one.
    """
    scored = [t for t in trajectories if t.score.value is not None]
    said = [(p, t.score.solved) for t in scored if (p := t.stated()) is not None]
    if not said:
        return {}
    found = calibration([p for p, _ in said], [float(solved) for _, solved in said])
    mean = sum(p for p, _ in said) / len(said)
    return {"stated": len(said) / len(scored), "stated_mean": mean, "ece": found.ece, "brier": found.brier}


def summarise(
    trajectories: Iterable[Trajectory],
    tasks: Iterable[Task],
    *,
    name: str,
    seed: int,
    original: Originals | None = None,
) -> Row:
    """The row of one policy. `tasks` gives kinds of bug; a trajectory of a task not among them is a ValueError.

    `seed` draws the bootstrap. `original` tells what the source was before the bug, to count restorations.
    """
    task_of = {task.id: task for task in tasks}
    everything = list(trajectories)
    if strangers := {t.task_id for t in everything} - set(task_of):
        raise ValueError(f"episodes of tasks that were not given: {', '.join(sorted(strangers)[:3])}")
    scored = [t for t in everything if t.score.value is not None]
    turns = [turn for t in scored for turn in t.turns]
    counts = _counts(scored)
    pass1, pass1_ci, _ = _rate(counts, 1, seed)
    pass8, pass8_ci, pass8_tasks = _rate(counts, 8, seed)
    results = [result for turn in turns for result in turn.results[: len(turn.calls)]]
    return Row(
        name=name,
        episodes=len(scored),
        tasks=len(counts),
        pass1=pass1,
        pass1_ci=pass1_ci,
        pass8=pass8,
        pass8_ci=pass8_ci,
        pass8_tasks=pass8_tasks,
        by_kind=_by_kind(counts, task_of, seed),
        tested_before_submit=_share([ran_tests_first(t) for t in scored]),
        submit_rate=_share([t.stop_reason == "submit" for t in scored]),
        restored=_restored(scored, task_of, original),
        turns=len(turns) / max(1, len(scored)),
        tokens=sum(len(turn.action_ids) for turn in turns) / max(1, len(scored)),
        tool_error_rate=_share([bool(result.error) for result in results]),
        format_error_rate=_share([bool(turn.format_error) for turn in turns]),
        outages=len(everything) - len(scored),
        stop_reasons=dict(sorted(Counter(t.stop_reason for t in scored).items())),
        counts=counts,
        commands=by_shell(scored, lambda task: task_of[task].environment.os),
        calibration=calibration_of(scored),
    )


def ran_tests_first(trajectory: Trajectory) -> bool:
    """Whether tests ran in a call before the `submit` that ended the episode; False where it never submitted.

    The order of calls decides, within a turn too: tests that run after a submit have informed nobody.
    """
    if trajectory.stop_reason != "submit":
        return False
    tested = False
    for turn in trajectory.turns:
        names = _called(turn)
        for name, result in zip(names, turn.results, strict=False):
            if name == "submit" and not result.error:
                return tested
            tested = tested or result.tests_run
    return tested


def _called(turn: Turn) -> list[str]:
    """The name of the call that each result answers; a malformed call answers to none."""
    names = [call.name for call in turn.calls]
    return names + [""] * (len(turn.results) - len(names))


def _counts(scored: Sequence[Trajectory]) -> dict[str, tuple[int, int]]:
    """Task id to (n scored, c passed), in the order of ids, so that the bootstrap does not depend on arrival."""
    tries: dict[str, list[bool]] = defaultdict(list)
    for t in scored:
        tries[t.task_id].append(t.score.solved)
    return {task: (len(tries[task]), sum(tries[task])) for task in sorted(tries)}


def _rate(counts: Mapping[str, tuple[int, int]], k: int, seed: int) -> tuple[float | None, Interval | None, int]:
    """pass@k over the tasks where it is defined, its interval, and how many tasks those are."""
    values = [pass_at_k(n, c, k) for n, c in counts.values() if n >= k]
    if not values:
        return None, None, 0
    return sum(values) / len(values), mean_interval(values, seed=seed, bounds=(0.0, 1.0)), len(values)


def _by_kind(counts: Mapping[str, tuple[int, int]], task_of: Mapping[str, Task], seed: int) -> dict[str, Kind]:
    kinds: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for task, count in counts.items():
        kinds[task_of[task].labels.get("kind", "other")][task] = count
    rows = {}
    for kind in sorted(kinds):
        value, interval, n = _rate(kinds[kind], 1, seed)
        if value is not None and interval is not None:
            rows[kind] = Kind(value, interval, n)
    return rows


def _restored(scored: Sequence[Trajectory], task_of: Mapping[str, Task], original: Originals | None) -> float | None:
    passing = [t for t in scored if t.score.solved]
    if original is None or not passing:
        return None
    return _share([dict(t.changes) == dict(original(task_of[t.task_id])) for t in passing])


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0


@dataclass(frozen=True)
class Difference:
    """pass@k of `better` minus that of `worse` on the tasks that both tried, with its 95% interval."""

    better: str
    worse: str
    k: int
    value: float
    ci: Interval
    tasks: int


def paired_difference(better: Row, worse: Row, *, seed: int, k: int = 1) -> Difference:
    """Task by task, so that how hard the tasks are cancels out; ValueError where no task has k tries in both rows."""
    shared = [t for t in better.counts if t in worse.counts and min(better.counts[t][0], worse.counts[t][0]) >= k]
    if not shared:
        raise ValueError(f"{better.name} and {worse.name} share no task with {k} tries")
    values = [pass_at_k(*better.counts[t], k) - pass_at_k(*worse.counts[t], k) for t in shared]
    interval = mean_interval(values, seed=seed, bounds=(-1.0, 1.0))
    return Difference(better.name, worse.name, k, sum(values) / len(values), interval, len(shared))
