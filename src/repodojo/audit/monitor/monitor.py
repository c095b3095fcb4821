"""The monitor: screens each episode, judges each step, withholds what is suspicious, obeys a person's word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from repodojo.audit.monitor.quarantine import noted, quarantined, signs_of, value_of
from repodojo.audit.monitor.series import Bounds, Series, Step
from repodojo.audit.monitor.signs import FINDERS, Sign, signs
from repodojo.core.records import Task, Trajectory

SIGNS = (*FINDERS, "jump", "collapse")


@dataclass(frozen=True)
class Watch:
    """What is watched for, what is withheld, and the bounds of a step's signs."""

    signs: tuple[str, ...] = SIGNS
    withhold: bool = True
    bounds: Bounds = field(default_factory=Bounds)


class Monitor:
    """One a run. `screen` sees every episode once; `judge` sees a step's episodes together, after that."""

    def __init__(self, watch: Watch, tasks: Iterable[Task]) -> None:
        self.watch = watch
        self.series = Series(watch.bounds)
        self._tasks = {task.id: task for task in tasks}
        self._allowed: set[tuple[str, Sign]] = set()

    def screen(self, trajectory: Trajectory) -> Trajectory:
        """The episode, quarantined where it shows a sign that nobody has allowed for its task."""
        found = signs(trajectory, self._tasks[trajectory.task_id], self.watch.signs)
        return self._marked(trajectory, [sign for sign in found if (trajectory.task_id, sign) not in self._allowed])

    def judge(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """A step's episodes, those withheld that an open alarm makes suspicious: what was paid, in a collapse without
        tests."""
        self.series.step(step_of(trajectories))
        return [self._judged(trajectory) for trajectory in trajectories]

    def _judged(self, trajectory: Trajectory) -> Trajectory:
        paid = (value_of(trajectory) or 0.0) > 0
        meant = [a.sign for name, a in self.series.open.items() if name == "jump" or not trajectory.ran_tests()]
        return self._marked(trajectory, meant) if paid else trajectory

    def _marked(self, trajectory: Trajectory, found: Sequence[Sign]) -> Trajectory:
        if not found:
            return trajectory
        return quarantined(trajectory, found) if self.watch.withhold else noted(trajectory, found)

    def allow(self, trajectory: Trajectory) -> None:
        """A person released this episode: the same evidence on the same task is no sign from now on."""
        self._allowed.update((trajectory.task_id, sign) for sign in signs_of(trajectory))

    def metrics(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """For metrics.jsonl: how many are withheld, how many show each sign, and the step as it was before."""
        shown = Counter(name for t in trajectories for name in {sign.name for sign in signs_of(t)})
        step = step_of(trajectories)
        return {
            "quarantined": sum(t.score.quarantined for t in trajectories),
            **{f"sign_{name}": count for name, count in sorted(shown.items())},
            "reward_unscreened": step.reward,
            "ran_tests": step.tests,
            "alarms": len(self.series.open),
        }

    def replay(self, line: Mapping[str, float]) -> None:
        """Take in a step of stage rl from metrics.jsonl, so that a resumed run knows what was usual."""
        if "reward_unscreened" in line:
            self.series.step(Step(line["reward_unscreened"], line["ran_tests"]))


def step_of(trajectories: Sequence[Trajectory]) -> Step:
    """Means over the episodes that have a reward, withheld or not."""
    scored = [(value, t.ran_tests()) for t in trajectories if (value := value_of(t)) is not None]
    count = max(len(scored), 1)
    return Step(sum(value for value, _ in scored) / count, sum(tested for _, tested in scored) / count)
