"""Tasks that leave a set: kept, with the reason, in `retired.jsonl`, never made again."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

from repodojo.core.codec import to_json
from repodojo.core.records import Task
from repodojo.tasks.manifest import disk_errors, package_of
from repodojo.tasks.store import TaskStore

FILE = "retired.jsonl"


def retire(store: TaskStore, reasons: Mapping[str, Mapping[str, Any]]) -> int:
    """Take tasks out of a set; how many there were. The manifest keeps the reason of each.

    The lines of `retired.jsonl` are on disk before the set is written anew; stopped in between, nothing is retired,
    and the next call may write a line a second time.
    """
    leaving = [task for task in store.each() if task.id in reasons]
    if not leaving:
        return 0
    with disk_errors(store.path), open(store.path / FILE, "a", encoding="utf-8") as stream:
        for task in leaving:
            stream.write(json.dumps({"why": dict(reasons[task.id]), "task": json.loads(to_json(task))}) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    gone = {task.id for task in leaving}
    fewer = Counter(package_of(task) for task in leaving)
    packages = {
        name: {**entry, "tasks": entry.get("tasks", 0) - fewer[name]} if fewer[name] else entry
        for name, entry in store.manifest["packages"].items()
    }
    retired = {**store.manifest.get("retired", {}), **{i: dict(reasons[i]) for i in sorted(gone)}}

    def staying(task: Task) -> Task | None:
        return None if task.id in gone else task

    store.rewrite(staying, packages, retired=retired)
    return len(gone)
