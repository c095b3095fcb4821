"""Splits that share nothing: no repository, no function body, no near-duplicate. Checked, and made."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from repodojo.core.errors import TaskError
from repodojo.core.records import Split, Task
from repodojo.tasks import near
from repodojo.tasks.manifest import package_of
from repodojo.tasks.store import TaskStore

THRESHOLD = 0.8
Tell = Callable[[int], None]
"""Called with how many tasks were read."""


@dataclass(frozen=True)
class Shared:
    """Something that two splits share: `what` ("repository", "function", "near-duplicate", "language") and two task
    ids."""

    what: str
    first: str
    second: str


@dataclass(frozen=True)
class Groups:
    """Tasks by what ties them: for each, its id, split, package, group and language; and what crosses splits now."""

    ids: list[str]
    splits: list[str]
    packages: list[str]
    groups: list[object]
    shared: list[Shared]
    languages: list[str] = field(default_factory=list)


def groups(store: TaskStore, threshold: float = THRESHOLD, tell: Tell = lambda done: None) -> Groups:
    """Read a set once (one task in memory at a time, 400 bytes kept of each) and find what ties tasks together."""
    found = Groups([], [], [], [], [])
    sets, first = near.Sets(), dict[tuple[str, str], int]()
    signatures: list[near.Signature | None] = []
    shared: list[tuple[str, int, int]] = []
    for number, task in enumerate(store.each()):
        tell(number + 1)
        found.ids.append(task.id)
        found.splits.append(task.source.split)
        found.packages.append(package_of(task))
        found.languages.append(task.language)
        signatures.append(near.signature(near.words(task)))
        for key in filter(all, (("repository", found.packages[-1]), ("function", task.labels.get("function", "")))):
            other = first.setdefault(key, number)
            sets.join(number, other)
            shared.append((key[0], other, number))
    for a, b in near.pairs(signatures, threshold):
        sets.join(a, b)
        shared.append(("near-duplicate", a, b))
    found.groups.extend(sets.find(number) for number in range(len(found.ids)))
    crossing = ((what, a, b) for what, a, b in shared if found.splits[a] != found.splits[b])
    found.shared.extend(Shared(what, found.ids[a], found.ids[b]) for what, a, b in crossing)
    found.shared.extend(_strays(found, (store.manifest.get("splits") or {}).get("held_out_languages", ())))
    return found


def _strays(found: Groups, languages: Collection[str]) -> Iterator[Shared]:
    """Tasks of a language that was held out as a whole and yet is in another split (a later import may bring some)."""
    held = {name: found.ids[i] for i, name in enumerate(found.languages) if found.splits[i] == "held-out"}
    for i, name in enumerate(found.languages):
        if name in languages and found.splits[i] != "held-out":
            yield Shared("language", found.ids[i], held.get(name, ""))


def assign(
    found: Groups, fractions: Mapping[Split, float], seed: int, languages: Collection[str] = ()
) -> dict[str, Split]:
    """A split for each package such that no group is divided, near the wanted fractions of tasks.

    Groups with a task in one of `languages` are held out. Of the others large ones go first, each to the split that
    lacks most; `seed` orders groups of one size. TaskError where a language is not there, or nothing else is.
    """
    if any(f < 0 for f in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-6:
        raise TaskError("the fractions of the splits do not add up to 1", way_out="e.g. --dev 0.1 --held-out 0.2")
    sizes, packages = Counter(found.groups), defaultdict[object, set[str]](set)
    for package, group in zip(found.packages, found.groups, strict=True):
        packages[group].add(package)
    order = sorted(sizes, key=str)
    random.Random(seed).shuffle(order)
    total, have = len(found.ids), Counter[Split]()
    result: dict[str, Split] = {}
    held_out: Split = "held-out"
    for group in _of_languages(found, languages):
        order.remove(group)
        have[held_out] += sizes[group]
        result |= dict.fromkeys(packages[group], held_out)
    for group in sorted(order, key=lambda g: -sizes[g]):
        lack = {split: fraction * total - have[split] for split, fraction in fractions.items() if fraction}
        best = max(lack, key=lambda split: lack[split])
        have[best] += sizes[group]
        result |= dict.fromkeys(packages[group], best)
    return result


def _of_languages(found: Groups, languages: Collection[str]) -> set[object]:
    """Groups that hold a task in one of these languages."""
    if unknown := sorted(set(languages) - set(found.languages)):
        there = ", ".join(sorted(set(found.languages)))
        raise TaskError(f"no task is in the language {unknown[0]!r}", way_out=f"there are {there}")
    chosen = {group for group, name in zip(found.groups, found.languages, strict=True) if name in languages}
    if chosen and chosen == set(found.groups):
        raise TaskError(
            f"every repository has tasks in {', '.join(sorted(languages))}, so nothing would be left to train on",
            way_out="hold out another language, or make the edits of each set with --languages",
        )
    return chosen


def divide(
    store: TaskStore,
    fractions: Mapping[Split, float],
    seed: int,
    threshold: float = THRESHOLD,
    languages: Collection[str] = (),
    tell: Tell = lambda done: None,
) -> Groups:
    """Give every task of a set a split anew; the groups as they are afterwards (a second look). What was validated
    stays so."""
    split_of = assign(groups(store, threshold, tell), fractions, seed, languages)

    def moved(task: Task) -> Task:
        return replace(task, source=replace(task.source, split=split_of[package_of(task)]))

    packages = {
        name: {**entry, "split": split_of.get(name, entry.get("split", ""))}
        for name, entry in store.manifest["packages"].items()
    }
    wanted = {str(split): fraction for split, fraction in fractions.items()}
    made = {"fractions": wanted, "seed": seed, "threshold": threshold, "held_out_languages": sorted(languages)}
    store.rewrite(moved, packages, splits=made)
    return groups(store, threshold, tell)
