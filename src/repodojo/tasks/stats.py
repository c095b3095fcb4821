"""What a task set holds, in figures."""

from __future__ import annotations

from collections import Counter
from typing import Any

from repodojo.core.editing import edit_of, expected, is_edit
from repodojo.tasks.manifest import package_of
from repodojo.tasks.refresh import look
from repodojo.tasks.store import TaskStore


def measure(store: TaskStore) -> dict[str, Any]:
    """Counts by split, kind, language, licence, grader and format; medians of sizes; provenance and validation.

    Reads the set twice, one task at a time; only sizes are kept of each.
    """
    by: dict[str, Counter[str]] = {
        name: Counter() for name in ("splits", "kinds", "languages", "licences", "graders", "formats")
    }
    packages: Counter[str] = Counter()
    names = ("instruction characters", "gold lines", "fail to pass", "answer characters")
    sizes: dict[str, list[int]] = {name: [] for name in names}
    for task in store.each():
        by["splits"][task.source.split] += 1
        by["kinds"][task.labels.get("kind", "")] += 1
        by["languages"][task.language] += 1
        by["licences"][task.licence] += 1
        by["graders"][task.grader.kind] += 1
        by["formats"][str(task.raw.get("format", "repodojo"))] += 1
        packages[package_of(task)] += 1
        shown = edit_of(task).text() if is_edit(task) else task.instruction
        sizes["instruction characters"].append(len(shown))
        patch = task.gold.patch if task.gold else ""
        rows = [x for x in patch.splitlines() if x[:1] in "+-" and x[:4] not in ("+++ ", "--- ")]
        sizes["gold lines"].append(len([x for x in rows if x]))
        if is_edit(task):
            sizes["answer characters"].append(len(expected(task)))
        else:
            sizes["fail to pass"].append(len(task.grader.fail_to_pass))
    manifest = store.manifest
    return {
        "tasks": by["splits"].total(),
        "repositories": len(packages),
        "largest": dict(packages.most_common(5)),
        **{name: dict(counts.most_common()) for name, counts in by.items()},
        **{f"{name} (median)": sorted(found)[len(found) // 2] for name, found in sizes.items() if found},
        "version": manifest.get("version", 0),
        "sha256": manifest.get("sha256", ""),
        **difficulty(store),
        "validated": (manifest.get("validation") or {}).get("fates", {}),
        "validation is of this version": (manifest.get("validation") or {}).get("of", "-") == manifest.get("sha256"),
    }


def difficulty(store: TaskStore) -> dict[str, Any]:
    """How hard the tasks are believed to be, in fifths, on what ground, and how many were retired."""
    seen = look(store)
    fifths = Counter(min(int(estimate.difficulty * 5), 4) for estimate in seen.estimates.values())
    tried = [estimate.tally for estimate in seen.estimates.values() if estimate.tally.attempts]
    return {
        "difficulty": {f"{n / 5:.1f} to {(n + 1) / 5:.1f}": fifths[n] for n in range(5) if fifths[n]},
        "tried": {
            "tasks": len(tried),
            "attempts": sum(t.attempts for t in tried),
            "solved": sum(t.solved for t in tried),
        },
        "difficulty fitted to": f"{seen.model.tasks} tasks here" if seen.model.tasks else "the quickstart's runs",
        "nats an attempt": dict(zip(("by features", "by one rate"), (round(s, 3) for s in seen.surprise), strict=True)),
        "retired": len(store.manifest.get("retired", {})),
        "would be retired": len(seen.going),
    }
