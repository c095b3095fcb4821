"""A set that training has outgrown: what is too easy or hopeless leaves, and the makers are asked for more.

The rule is that of Golubev et al. (arXiv 2508.03501; `algorithms.curriculum.refreshed`): a task goes when it was solved
in two thirds or more of its attempts, or never in enough of them. Only tasks of the split `train` go: what measures a
model must not change with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repodojo.core.records import Task
from repodojo.tasks import rollouts as histories
from repodojo.tasks.difficulty import Estimate, Model, features, fit, surprise
from repodojo.tasks.features import KINDS as FEATURES
from repodojo.tasks.manifest import package_of
from repodojo.tasks.rollouts import Rollouts, Tally
from repodojo.tasks.store import TaskStore

EASY, HOPELESS = "solved too often", "never solved"


@dataclass(frozen=True)
class Rule:
    """When a task goes: solved in `too_easy` or more of at least `tries` attempts, or in none of at least `never`.

    Of each task the newest `recent` attempts count (0: all).
    """

    too_easy: float = 2 / 3
    tries: int = 8
    never: int = 24
    recent: int = 0


RULE = Rule()


@dataclass
class Look:
    """A set as its rollouts show it: the model of difficulty and how well it foretells (`difficulty.surprise`), an
    estimate by task, and what is to go, with why."""

    model: Model
    estimates: dict[str, Estimate] = field(default_factory=dict)
    going: dict[str, dict[str, Any]] = field(default_factory=dict)
    packages: Counter[str] = field(default_factory=Counter)
    surprise: tuple[float, float] = (0.0, 0.0)

    def accepts(self, low: float, high: float, known: frozenset[str]) -> Callable[[Task], bool]:
        """Tells a maker whether a new task is wanted: not one that is or was there, of a solve rate between both."""

        def wanted(task: Task) -> bool:
            return task.id not in known and low <= self.model.estimate(features(task)).rate <= high

        return wanted


def why(tally: Tally, rule: Rule) -> str:
    """Why a task with these attempts goes; "" where it stays."""
    if not tally.attempts:
        return ""
    from repodojo.algorithms.curriculum import refreshed  # brings torch: seconds that only tried sets need

    if refreshed([tally.solved], [tally.attempts], too_easy=rule.too_easy, tries=rule.tries)[0]:
        return ""
    if tally.solved:
        return EASY
    return HOPELESS if tally.attempts >= rule.never else ""


def look(store: TaskStore, rule: Rule = RULE, found: Sequence[Rollouts] | None = None) -> Look:
    """Read a set once. `found` are the rollouts that decide what goes (None: all that are recorded).

    Estimates are of everything recorded, and of the whole set.
    """
    recorded = histories.load(store.path)
    tallies, random = histories.tally(recorded), histories.tally(recorded, histories.RANDOM)
    deciding = histories.tally(recorded if found is None else found, recent=rule.recent)
    seen: dict[str, Mapping[str, float]] = {}
    result = Look(Model())
    for task in store.each():
        seen[task.id] = features(task, random.get(task.id))
        tally = deciding.get(task.id, Tally())
        if task.source.split == "train" and (reason := why(tally, rule)):
            package, counts = package_of(task), {"solved": tally.solved, "attempts": tally.attempts}
            result.going[task.id] = {"reason": reason, "package": package, **counts}
            result.packages[package] += 1
    rows = [(seen[i], tallies.get(i, Tally())) for i in seen]
    result.model, result.surprise = fit(rows), surprise(rows)
    result.estimates = {i: result.model.estimate(seen[i], tallies.get(i)) for i in seen}
    return result


@dataclass(frozen=True)
class Ask:
    """What a maker is asked for: the package's entry in the manifest, and how many tasks."""

    package: str
    entry: Mapping[str, Any]
    count: int

    @property
    def maker(self) -> str:
        """ "bugs", "features", "history", or "" where the set does not say how it was made (e.g. imported tasks)."""
        kinds = set(self.entry.get("kinds", ()))
        if kinds and kinds <= set(FEATURES):
            return "features"
        return "history" if "history" in self.entry else "bugs" if "kinds" in self.entry else ""

    @property
    def address(self) -> str:
        """The source as the maker takes it; sets of before kept only its label."""
        return str(self.entry.get("address") or self.entry.get("source", ""))


def asks(store: TaskStore, wanted: Mapping[str, int]) -> list[Ask]:
    """One for each package that lost tasks, in order."""
    packages = store.manifest["packages"]
    return [Ask(name, packages.get(name, {}), count) for name, count in sorted(wanted.items()) if count]


def spread(store: TaskStore, total: int) -> dict[str, int]:
    """`total` tasks over the packages of the split `train` that a maker knows, as evenly as can be."""
    names = sorted(
        name
        for name, entry in store.manifest["packages"].items()
        if entry.get("split", "train") == "train" and Ask(name, entry, 1).maker
    )
    return {name: total // len(names) + (number < total % len(names)) for number, name in enumerate(names)}


def known_ids(path: Path) -> frozenset[str]:
    """Ids that a set holds or has retired."""
    store = TaskStore(path)
    return frozenset((*(task.id for task in store.each()), *store.manifest.get("retired", {})))
