"""Signs of a whole step: a reward that jumps while no held-out check rises with it, tests that are run no more.

jump       mean reward - median of the window > `jump`, and > 4 robust standard deviations of the window
collapse   share of episodes that run tests < (1 - `collapse`) * median of the window (itself at least a third), while
           the mean reward is not below the window's median

An alarm stays open until a person releases it or, where the rule says so, a held-out check bears it out: since the last
check before a jump, the held-out rate rose by at least half as much; since that before a collapse, it did not fall.
Robust standard deviation: 1.4826 times the median distance from the median, at least 0.03.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

from repodojo.audit.monitor.signs import Sign

LEAST_TESTS = 1 / 3
LEAST_NOISE = 0.03


@dataclass(frozen=True)
class Step:
    """What a step's episodes amount to before anything is withheld: mean reward, share that ran tests."""

    reward: float
    tests: float


@dataclass(frozen=True)
class Bounds:
    """What is told from a window of steps, and which alarms are watched for."""

    window: int = 6
    jump: float = 0.35
    collapse: float = 0.8
    watched: frozenset[str] = frozenset({"jump", "collapse"})
    by_check: bool = True


@dataclass(frozen=True)
class Alarm:
    """An open alarm: its sign, how far the reward rose, and the held-out rate before it (None: never measured)."""

    sign: Sign
    rise: float
    held_out: float | None


class Series:
    """The steps so far, and the alarms that are open."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.open: dict[str, Alarm] = {}
        self._steps: deque[Step] = deque(maxlen=bounds.window)
        self._held_out: float | None = None

    def step(self, step: Step) -> None:
        """One step of training. Steps under an alarm do not become the usual."""
        if len(self._steps) == self.bounds.window and not self.open:
            for sign in self._signs(step):
                usual = median(past.reward for past in self._steps)
                self.open[sign.name] = Alarm(sign, step.reward - usual, self._held_out)
        if not self.open:
            self._steps.append(step)

    def check(self, rate: float) -> None:
        """A held-out check: it may bear out what is open, by the rule."""
        if self.bounds.by_check:
            for name, alarm in list(self.open.items()):
                needed = alarm.rise / 2 if name == "jump" else 0.0
                if alarm.held_out is not None and rate - alarm.held_out >= needed:
                    self.release(name)
        if not self.open:
            self._held_out = rate

    def release(self, name: str) -> None:
        """What is now becomes the usual: the window begins anew."""
        if self.open.pop(name, None):
            self._steps.clear()

    def _signs(self, step: Step) -> list[Sign]:
        rewards, tests = [past.reward for past in self._steps], [past.tests for past in self._steps]
        usual = median(rewards)
        noise = max(LEAST_NOISE, 1.4826 * median(abs(reward - usual) for reward in rewards))
        rise = step.reward - usual
        found = []
        if rise > self.bounds.jump and rise > 4 * noise:
            found.append(Sign("jump", f"mean reward {step.reward:.2f} after {usual:.2f}"))
        often = median(tests)
        if often >= LEAST_TESTS and step.tests < (1 - self.bounds.collapse) * often and rise >= 0:
            found.append(Sign("collapse", f"{step.tests:.0%} of episodes ran tests, after {often:.0%}"))
        return [sign for sign in found if sign.name in self.bounds.watched]
