"""What a task set holds, in figures."""

from __future__ import annotations

from collections import Counter
from typing import Any

from repodojo.core.editing import edit_of, expected, is_edit
from repodojo.tasks.manifest import package_of
from repodojo.tasks.store import TaskStore


def measure(store: TaskStore) -> dict[str, Any]:
    """Counts by split, kind, language, licence, grader and format; medians of sizes; provenance and validation.

    Reads the set once, one task at a time; only sizes are kept of each.
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
        "validated": (manifest.get("validation") or {}).get("fates", {}),
        "validation is of this version": (manifest.get("validation") or {}).get("of", "-") == manifest.get("sha256"),
    }
