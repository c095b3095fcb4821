"""From a mutant that the tests caught to a Task record."""

from __future__ import annotations

import difflib
import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from repodojo.core.records import Environment, Gold, Grader, Source, Task, Validation
from repodojo.tasks.baseline import RUNS
from repodojo.tasks.discover import FunctionInfo
from repodojo.tasks.instruction import instruction
from repodojo.tasks.layout import Layout, canonical
from repodojo.tasks.mutate import Edit, Mutant
from repodojo.tasks.plan import Plan
from repodojo.tasks.runs import Outcome, edit_record

PROTECTED = ("conftest.py", "pytest.ini", "tox.ini", "setup.cfg", "setup.py", "pyproject.toml")


@dataclass(frozen=True)
class Origin:
    """What all tasks of one source share."""

    layout: Layout
    source: Source
    environment: Environment
    repo: str
    commit: str


def fate(plan: Plan, outcome: Outcome) -> str:
    """ "killed", or why a mutant makes no task: "survived", "hung", "lost" (the run broke off)."""
    if any(name not in outcome.tests for name in plan.visible):
        return "lost"
    if all(outcome.tests[name] == "passed" for name in plan.visible):
        return "survived"
    if any(name not in outcome.tests for name in (*plan.hidden, *plan.others)):
        return "lost"
    return "hung" if "no answer after" in outcome.text or "the process" in outcome.text else "killed"


def task(origin: Origin, plan: Plan, broken: Sequence[tuple[FunctionInfo, Mutant]], outcome: Outcome) -> Task:
    """The record of one bug, or of several at once. Red ids are fail_to_pass, those that stay green pass_to_pass."""
    red = tuple(i for i in (*plan.visible, *plan.hidden, *plan.others) if outcome.tests[i] != "passed")
    green = tuple(i for i in (*plan.visible, *plan.hidden, *plan.others) if outcome.tests[i] == "passed")
    edits = [edit_record(function.path, mutant.edit) for function, mutant in broken]
    edits += [edit_record(path, Edit(0, 0, text)) for path, text in plan.shown.items()]
    script = f"#!/bin/sh\nexec python -m boxrun {' '.join(map(shlex.quote, plan.visible))}\n"
    recipe = {**origin.environment.recipe, "edits": edits, "scripts": {"repro": script}}
    identity = json.dumps([origin.source.dataset, recipe["tree"], edits], sort_keys=True)
    return Task(
        id="t-" + hashlib.sha256(identity.encode()).hexdigest()[:12],
        source=origin.source,
        instruction=_told([function for function, _ in broken], outcome.text),
        environment=replace(origin.environment, recipe=recipe),
        grader=Grader("f2p_p2p", "python -m boxrun --report", "boxrun", red, green, timeout=30.0),
        gold=Gold(_patches(broken)),
        repo=origin.repo or origin.layout.name,
        base_commit=origin.commit,
        licence=origin.layout.licence,
        visible_command="repro",
        visible_tests=plan.visible,
        focus=tuple(function.focus for function, _ in broken),
        hidden_files=plan.hidden_files,
        protected=tuple(dict.fromkeys((*PROTECTED, *plan.shown, *plan.hidden_files))),
        validation=Validation(RUNS + 2, (), round(outcome.seconds, 4)),
        labels={
            "kind": broken[0][1].kind if len(broken) == 1 else "combined",
            "package": canonical(origin.layout.name),
            "function": broken[0][0].digest,
            "lines": str(sum(function.lines for function, _ in broken)),
            "judge": plan.visible[0].partition(":")[0],
        },
        raw={"mutation": "; ".join(mutant.description for _, mutant in broken)},
    )


def _told(functions: Sequence[FunctionInfo], output: str) -> str:
    paths = list(dict.fromkeys(function.path for function in functions))
    return instruction(" and ".join(paths), "` and `".join(function.qualname for function in functions), output)


def _patches(broken: Sequence[tuple[FunctionInfo, Mutant]]) -> str:
    """The diff from the broken files to the sound ones."""
    texts: dict[str, tuple[str, str]] = {}
    for function, mutant in sorted(broken, key=lambda item: -item[1].edit.start):  # from the end, so that spans hold
        sound, now = texts.get(function.path, (function.text.source, function.text.source))
        texts[function.path] = sound, mutant.edit.apply(now)
    return "".join(_patch(path, now, sound) for path, (sound, now) in sorted(texts.items()))


def _patch(path: str, broken: str, sound: str) -> str:
    """A unified diff from the broken file to the sound one."""
    rows = difflib.unified_diff(
        broken.splitlines(keepends=True), sound.splitlines(keepends=True), f"a/{path}", f"b/{path}", n=3
    )
    return "".join(row if row.endswith("\n") else f"{row}\n\\ No newline at end of file\n" for row in rows)
